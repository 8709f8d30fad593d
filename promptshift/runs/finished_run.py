"""A finished run that another run starts from: named by a key, read, and checked to be what it is taken for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY, TrainerBase
from dassl.utils import load_checkpoint
from dassl.utils.errors import UserError
from dassl.utils.loading import load_weights as load_state
from dassl.utils.torchtools import BEST, find_checkpoints
from promptshift.runs.config import flatten
from promptshift.runs.stored_config import read_config

log = logging.getLogger(__name__)

# what must agree with the run that would be made if none were named
SAME_DATA = (
    "DATASET.NAME",
    "DATASET.SOURCE_DOMAINS",
    "DATASET.SUBSAMPLE_CLASSES",
    "DATASET.NUM_SHOTS",
    "SEED",
    "MODEL.BACKBONE.NAME",
)


@runtime_checkable
class IgnoresData(Protocol):
    """A trainer class whose training does not depend on some keys of the dataset."""

    def unread_data(self, cfg: CN) -> tuple[str, ...]:
        """Keys of the dataset that training under `cfg` does not depend on."""


def run_options(folder: str | Path, key: str) -> dict | None:
    """Every dotted key of the configuration of the run in `folder`; None for a released one, which has none.

    Args:
        folder: output folder of a finished run, or a checkpoint file.
        key: the key that names it, for the error message.

    Raises:
        UserError: there is nothing, or no configuration of this project.
    """
    folder = Path(folder).expanduser()
    if not folder.exists():
        raise UserError(f"{key}: there is no {folder}; give the output folder of a finished run")
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    return flatten(read_config(path))


def check_run(folder: str | Path, key: str, expected: CN, same: Iterable[str] = SAME_DATA) -> None:
    """Refuses a run of another trainer or on other data than a stage would have; names the first difference.

    Args:
        folder, key: as for `run_options`.
        expected: configuration of the stage that would be made if no run were named.
        same: keys that must agree.
    """
    found = run_options(folder, key)
    if found is None:
        log.info(f"{key}: {folder} holds no config.yaml; its dataset, classes, shots and seed cannot be checked")
        return
    wanted = flatten(expected)
    if TRAINER_REGISTRY.get(found["TRAINER.NAME"]) is not TRAINER_REGISTRY.get(wanted["TRAINER.NAME"]):
        raise UserError(f"{key}: {folder} is a run of {found['TRAINER.NAME']}, expected {wanted['TRAINER.NAME']}")
    trainer = TRAINER_REGISTRY.get(wanted["TRAINER.NAME"])
    unread = trainer.unread_data(expected) if isinstance(trainer, IgnoresData) else ()
    for name in (name for name in same if name not in unread):
        values = [list(value) if isinstance(value, tuple | list) else value for value in (found[name], wanted[name])]
        if values[0] != values[1]:
            raise UserError(f"{key}: {folder} is a run with {name} {values[0]}, expected {values[1]}")


def deployed_epoch(trainer: TrainerBase, folder: str | Path) -> int | None:
    """The checkpoint that the run in `folder` tested: None for its best one, else the number of its last epoch."""
    folders = [Path(folder, name) for name in trainer.get_model_names()]
    if any((place / BEST).is_file() for place in folders):
        return None
    return max((epoch for place in folders for epoch in find_checkpoints(str(place))), default=None)


def load_tested(trainer: TrainerBase, folder: str | Path, epoch: int | None = None) -> None:
    """Loads the weights that the run in `folder` tested, or those of another epoch (from 1)."""
    trainer.load_model(str(folder), epoch=deployed_epoch(trainer, folder) if epoch is None else epoch)


def load_weights(trainer: TrainerBase, folder: str | Path, key: str, epoch: int = 0) -> None:
    """Loads what a run learnt into a trainer.

    Args:
        trainer: the trainer; its registered names say what is looked for.
        folder: the run's folder; a checkpoint file is taken for a trainer that registers one model.
        key: the key that names it.
        epoch: from 1; 0 for the weights that the run tested.

    Raises:
        UserError: there is no checkpoint, or it does not fit.
    """
    folder, names = Path(folder).expanduser(), trainer.get_model_names()
    if folder.is_file() and len(names) == 1:
        _load_file(trainer, names[0], folder, key)
        return
    if not any((folder / name).is_dir() for name in names):
        raise UserError(f"{key}: {folder} holds no checkpoint of {', '.join(names)}")
    load_tested(trainer, folder, epoch or None)


def _load_file(trainer: TrainerBase, name: str, path: Path, key: str) -> None:
    load_state(trainer._models[name], load_checkpoint(path)["state_dict"], name, f"{key}: {path}")
    log.info(f"Load {path} to {name}")
