"""A trained run without its images: what predicting needs, from the run's folder alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default, merge_opts
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.utils import read_json
from dassl.utils.errors import UserError
from promptshift.paths import load_plugins
from promptshift.results.collect import inspect
from promptshift.runs.config import concerns, extend_cfg, flatten
from promptshift.runs.outside_files import offer_mini
from promptshift.runs.run import CLASSES_FILE, deployed_epoch
from promptshift.runs.stored_config import put, read_config


def load_run(folder: str | Path) -> TrainerX:
    """The trainer of a finished run with the weights that the run tested, in eval mode.

    The configuration, the class names and the weights come from the folder; no image and no data folder is looked at.

    Raises:
        UserError: `folder` holds no finished run, or one without weights (an evaluation only).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--run {folder}: no such folder; give the output folder of a finished run")
    found = inspect(folder)
    if found.record is None:
        raise UserError(f"--run {folder}: {found.problem}")
    load_plugins()
    cfg, classnames = _configuration(folder / "config.yaml"), read_json(folder / CLASSES_FILE)
    trainer_class = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    body = {"build_data_loader": lambda trainer: _take_classes(trainer, classnames)}
    offer_mini()
    trainer = type(trainer_class.__name__, (trainer_class,), body)(cfg)
    trainer.load_model(str(folder), epoch=deployed_epoch(trainer, folder))
    trainer.set_model_mode("eval")
    return trainer


def _configuration(path: Path) -> CN:
    """A run's configuration; blocks of other trainers are left out, for they may have changed since."""
    written = read_config(path)
    cfg = get_cfg_default()
    extend_cfg(cfg)
    kept = {key: value for key, value in flatten(written).items() if concerns(key, written)}
    if written.get("EXTEND_CFG"):  # its keys are not ours, and the file that declared them may be gone
        for key, value in kept.items():
            put(cfg, key, value)
    else:
        merge_opts(cfg, [word for pair in kept.items() for word in pair], source=str(path))
    cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS = 0  # there are no training images to keep views of
    cfg.MODEL.INIT_WEIGHTS, cfg.MODEL.BACKBONE.PRETRAINED = "", False  # the run's own weights replace all others
    cfg.freeze()
    return cfg


def _take_classes(trainer: TrainerX, classnames: list[str]) -> None:
    """Stands in for building the data: class names and nothing else."""
    lab2cname = dict(enumerate(classnames))
    dataset = SimpleNamespace(
        classnames=classnames, lab2cname=lab2cname, num_classes=len(classnames), domains=(), train_x=[], val=[], test=[]
    )
    trainer.dm = SimpleNamespace(dataset=dataset, lab2cname=lab2cname, num_classes=len(classnames))
    trainer.train_loader_x = trainer.train_loader_u = trainer.val_loader = trainer.test_loader = None
    trainer.lab2cname, trainer.num_classes = lab2cname, len(classnames)
    trainer.num_source_domains = len(trainer.cfg.DATASET.SOURCE_DOMAINS)
