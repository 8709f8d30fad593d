"""A trainer built as train.py builds it, from a whole configuration, on a golden CLIP and without data."""

from types import SimpleNamespace

import helpers.goldens_recipe as recipe
from dassl.config import get_cfg_default, merge_opts
from promptshift.runs.config import extend_cfg


def golden_run(cls, names, *opts, images=None, **methods):
    """A trainer of class `cls` for classes `names` on the golden ViT.

    Args:
        opts: KEY VALUE pairs.
        images: its training set, where it needs one.
        methods: replacements of methods, by name.
    """
    cfg = get_cfg_default()
    extend_cfg(cfg)
    merge_opts(
        cfg,
        [
            "TRAINER.NAME",
            cls.__name__,
            "INPUT.SIZE",
            (32, 32),
            "OPTIM.NAME",
            "sgd",
            f"TRAINER.{cls.BLOCK}.PREC",
            "fp32",
            *opts,
        ],
    )

    def data(trainer):
        lab2cname = dict(enumerate(names))
        trainer.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=names), lab2cname=lab2cname)
        trainer.train_loader_x = SimpleNamespace(dataset=images)
        trainer.train_loader_u = trainer.val_loader = trainer.test_loader = None
        trainer.lab2cname, trainer.num_classes, trainer.num_source_domains = lab2cname, len(names), 0

    body = {"build_data_loader": data, "load_backbone": lambda trainer: recipe.clip(), **methods}
    return type(cls.__name__, (cls,), body)(cfg)
