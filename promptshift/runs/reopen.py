"""The one way to open a finished run: without its images, from its folder alone, or with them."""

from __future__ import annotations

import logging
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default, merge_opts
from dassl.data import ClassNames
from dassl.engine import TrainerX, build_trainer
from dassl.talk import quiet
from dassl.utils import read_json, set_random_seed
from dassl.utils.errors import UserError, shorten
from promptshift.paths import load_plugins
from promptshift.results.collect import inspect
from promptshift.runs.config import concerns, extend_cfg, flatten
from promptshift.runs.finished_run import load_tested
from promptshift.runs.outside_files import offer_mini
from promptshift.runs.run import CLASSES_FILE
from promptshift.runs.stored_config import put, read_config

log = logging.getLogger(__name__)


def reopen(folder: str | Path, images: bool = False, trained: str | Path | None = None, key: str = "") -> TrainerX:
    """The trainer of a finished run with the weights that the run tested, in eval mode.

    Without images the configuration, the class names and the weights come from the run's folder, and no data folder is
    looked at. With images the run's dataset is read again, under its seed.

    Args:
        folder: the run's.
        images: whether the trainer gets its loaders.
        trained: the run whose weights it tested, itself when None.
        key: what names the folder, for error messages.

    Raises:
        UserError: `folder` holds no finished run or `trained` no weights, or images are asked for and are not there or
            are others than the run's.
    """
    folder, named = Path(folder), f"{key} {folder}".strip()
    if not folder.is_dir():
        raise UserError(f"{named}: no such folder; give the output folder of a finished run")
    found = inspect(folder)
    if found.kind == "stale" and not images:
        log.warning(f"{named}: {found.problem}, unless its weights are what you want as they are")
    elif found.record is None:
        raise UserError(f"{named}: {found.problem}")
    load_plugins()
    cfg = _configuration(folder / "config.yaml")
    if images:
        set_random_seed(max(cfg.SEED, 0))
        return open_trainer(cfg, trained or folder)
    names = ClassNames(_classnames(folder / CLASSES_FILE), len(cfg.DATASET.SOURCE_DOMAINS))
    return open_trainer(cfg, trained or folder, names)


def open_trainer(cfg: CN, trained: str | Path, data: ClassNames | None = None) -> TrainerX:
    """The trainer of a configuration, built without a word, in eval mode.

    Args:
        cfg: the configuration.
        trained: folder of the run whose tested weights it gets, empty to leave it as it is built.
        data: class names, if it is to have no images.
    """
    offer_mini()
    with quiet():
        trainer = build_trainer(cfg, data)
        if trained:
            load_tested(trainer, trained)
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
    cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS = 0  # nothing is trained
    cfg.MODEL.INIT_WEIGHTS, cfg.MODEL.BACKBONE.PRETRAINED = "", False  # the run's own weights replace all others
    cfg.freeze()
    return cfg


def _classnames(path: Path) -> list[str]:
    """The class names of a run in label order; another file is refused."""
    names = read_json(path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{path} holds {shorten(repr(names), 80)}, allowed: a list of class names")
    return names
