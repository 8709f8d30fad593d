"""Operations that trainers of domain generalization put into networks and losses."""

from .cross_entropy import cross_entropy
from .mixing import (
    EFDMix,
    MixStyle,
    activate_efdmix,
    activate_mixstyle,
    crossdomain_efdmix,
    crossdomain_mixstyle,
    deactivate_efdmix,
    deactivate_mixstyle,
    random_efdmix,
    random_mixstyle,
    run_with_efdmix,
    run_with_mixstyle,
    run_without_efdmix,
    run_without_mixstyle,
)
from .mixup import mixup
from .reverse_grad import ReverseGrad

__all__ = [
    "EFDMix",
    "MixStyle",
    "ReverseGrad",
    "activate_efdmix",
    "activate_mixstyle",
    "cross_entropy",
    "crossdomain_efdmix",
    "crossdomain_mixstyle",
    "deactivate_efdmix",
    "deactivate_mixstyle",
    "mixup",
    "random_efdmix",
    "random_mixstyle",
    "run_with_efdmix",
    "run_with_mixstyle",
    "run_without_efdmix",
    "run_without_mixstyle",
]
