"""What trainers that generate the context may be told, and the names that their parts go by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from yacs.config import CfgNode as CN

from dassl.config import COMMAND_LINE
from dassl.config.options import at_least, between, choice, flag, names, whole

log = logging.getLogger(__name__)

SPG = "arXiv 2404.19286"
SPG_CAPS = "SPG's train.py"


def stage_one(source: str, epochs: int) -> dict:
    """Return the declared keys LABELS: how the prompt labels of stage one are trained."""
    return dict(
        LR=at_least(0, 0.002, source=source),
        MAX_EPOCH=whole(epochs, least=1, source=source),
        BATCH_SIZE=whole(32, least=1, source=source),
        WARMUP_EPOCH=whole(1, source=source),
        FEATURE_VIEWS=whole(0, least=0, about="as DATALOADER.TRAIN_X.FEATURE_VIEWS"),
    )


# adversarial generators
ADVERSARIAL_DEFAULTS = dict(
    LATENT_DIM=whole(100, least=1, source=SPG, about="width of the noise"),
    D_DROPOUT=between(0, 1, 0.4, source=SPG),
    NOISE=choice("sample", "zero", "mean", about="at test: one draw per image, none, or the mean context of several"),
    NOISE_SAMPLES=whole(8, least=1, about="draws of NOISE mean"),
    GRAD_CLIP=flag(True, source=SPG),
    NO_CLIP_TARGETS=names(about="no clipping where none but these domains is held out"),
    D_MAX_NORM_WEIGHT=at_least(0, 5e-2, source=SPG_CAPS),
    D_MAX_NORM_BIAS=at_least(0, 5e-1, source=SPG_CAPS),
    D_MAX_NORM_LAST=at_least(0, 5.0, source=SPG_CAPS),
    G_MAX_NORM_WEIGHT=at_least(0, 5e-3, source=SPG_CAPS),
    G_MAX_NORM_BIAS=at_least(0, 5e-8, source=SPG_CAPS),
    G_MAX_NORM_BIAS_LAST=at_least(0, 1.0, source=SPG_CAPS),
)
# SPG's gradient clipping, each tensor by itself: (pattern of its name, key of its cap), the first match holds
GENERATOR_CAPS = (
    (r"weight$", "G_MAX_NORM_WEIGHT"),
    (r"\.(9|11)\.bias$", "G_MAX_NORM_BIAS_LAST"),
    (r"bias$", "G_MAX_NORM_BIAS"),
)
DISCRIMINATOR_CAPS = (
    (r"\.(0|8)\.", "D_MAX_NORM_LAST"),
    (r"weight$", "D_MAX_NORM_WEIGHT"),
    (r"bias$", "D_MAX_NORM_BIAS"),
)


class PromptPath(NamedTuple):
    """One generator: the tensor of stage one's checkpoint that it imitates, and the names it goes by."""

    label: str
    generator: str
    discriminator: str
    prefix: str = ""  # of its losses in the log


def best_val_unless_told(cfg: CN, sources: Mapping[str, str]) -> None:
    """Select by validation where nothing says otherwise, as the released train.py of SPG and DPSPG has it."""
    if "TEST.FINAL_MODEL" not in sources:
        cfg.TEST.FINAL_MODEL = "best_val"


def generators_as_released(cfg: CN, sources: Mapping[str, str]) -> None:
    """Give a configuration of generators what the released code does beside its file, or in spite of it.

    The released files of SPG and DPSPG say `sgd`, which their trainers do not read: they build AdamW with weight
    decay 1e-4, and select by validation. `OPTIM.NAME sgd` on the command line trains with SGD.
    """
    best_val_unless_told(cfg, sources)
    if "OPTIM.WEIGHT_DECAY" not in sources:
        cfg.OPTIM.WEIGHT_DECAY = 1e-4
    file = sources.get("OPTIM.NAME", "")
    if file and file != COMMAND_LINE and cfg.OPTIM.NAME.lower() == "sgd":
        log.info(
            f"OPTIM.NAME: sgd in {file} is AdamW, as in the released code, which does not read that key; "
            "OPTIM.NAME sgd on the command line trains with SGD"
        )
    if file != COMMAND_LINE and (not file or cfg.OPTIM.NAME.lower() == "sgd"):
        cfg.OPTIM.NAME = "adamw"
