"""A trainer built as train.py builds it, from a whole configuration, on a golden CLIP and class names alone."""

from types import SimpleNamespace

import helpers.goldens_recipe as recipe
from dassl.config import get_cfg_default, merge_opts
from dassl.data import ClassNames
from promptshift.paths import load_plugins
from promptshift.runs.config import extend_cfg


def golden_cfg(cls, *opts, size=32):
    """Configuration of a run of class `cls` on a golden CLIP for images of `size` pixels, fp32 unless `opts` say."""
    load_plugins()  # a trainer may ask for another one by name
    cfg = get_cfg_default()
    extend_cfg(cfg)
    merge_opts(
        cfg,
        [
            "TRAINER.NAME",
            cls.__name__,
            "INPUT.SIZE",
            (size, size),
            "OPTIM.NAME",
            "sgd",
            f"TRAINER.{cls.BLOCK}.PREC",
            "fp32",
            *opts,
        ],
    )
    return cfg


def golden_run(cls, names, *opts, images=None, **parts):
    """A trainer of class `cls` for classes `names` on the golden ViT.

    Args:
        opts: KEY VALUE pairs.
        images: its training set, where it needs one.
        parts: more arguments of the trainer.
    """
    data = ClassNames(names)
    data.train_loader_x = SimpleNamespace(dataset=images)
    return cls(golden_cfg(cls, *opts), data=data, clip=recipe.clip(), **parts)
