"""What a run needs to go on exactly where it stopped, and where a folder keeps it.

Two layouts are read: the rolling ``last.pth.tar`` of this package, and upstream's one folder per model with numbered
checkpoints.
"""

import logging
import os
import random
import shutil
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from ..utils.errors import UserError
from ..utils.torchtools import BEST, POINTER, find_checkpoints, load_checkpoint, load_state, read_pointer
from ..utils.writing import atomic_path

log = logging.getLogger(__name__)

__all__ = [
    "LAST",
    "carry_best_over",
    "check_rng_state",
    "names_epoch",
    "newest_state",
    "plain_state",
    "rng_state",
    "set_rng_state",
]

LAST = "last.pth.tar"


def rng_state() -> dict[str, Any]:
    """States of the global generators of ``random``, numpy and torch (every device), as plain values and tensors."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Set the generators to what :func:`rng_state` returned; devices that are not here are left out."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def check_rng_state(state: dict[str, Any]) -> None:
    """Check that :func:`set_rng_state` takes a state, and leave the generators as they are.

    Raises:
        Exception: what the generators say about another state.
    """
    own = rng_state()
    try:
        set_rng_state(state)
    finally:
        set_rng_state(own)


def names_epoch(folder: str, epoch: int) -> bool:
    """Tell whether a model's folder has the checkpoint of an epoch, and its pointer names that one."""
    path = find_checkpoints(folder).get(epoch)
    return path is not None and _pointed_path(folder) == path


def plain_state(obj: object, besides: Collection[str] = ()) -> dict[str, Any]:
    """Attributes of an object that hold a number, a tensor, tensors by name or nothing -> what changes when they do.

    Args:
        obj: a trainer.
        besides: names that are left out.
    """
    found = {}
    for name, value in vars(obj).items():
        if name in besides or name.startswith("_") or isinstance(value, bool):
            continue
        if isinstance(value, torch.Tensor):
            found[name] = (id(value), value._version)
        elif isinstance(value, dict) and value and all(isinstance(each, torch.Tensor) for each in value.values()):
            found[name] = [(id(each), each._version) for each in value.values()]
        elif isinstance(value, int | float | None):
            found[name] = value
    return found


def newest_state(directory: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Read the newest complete training state of a folder.

    Args:
        directory: output folder of a run.
        names: the registered models; the state must have all of them.

    Returns:
        ``epoch`` (epochs done), ``models`` (name -> ``state_dict``, ``optimizer``, ``scheduler``), ``trainer_state``
        (None in upstream's checkpoints) and ``source`` (a path to show); None when there is no complete state.

    Raises:
        UserError: an unreadable file, other models than ``names``, or models at different epochs.
    """
    last = _rolling_state(os.path.join(directory, LAST), names)
    paths = _numbered_paths(directory, names)
    if last is not None and (paths is None or last["epoch"] >= paths[0]):
        return last
    return None if paths is None else _numbered_state(paths[1])


def _rolling_state(path: str, names: Sequence[str]) -> dict[str, Any] | None:
    if not os.path.isfile(path):
        return None
    state = load_state(path, ("epoch", "models", "trainer_state"))
    saved = state["models"]
    if not isinstance(saved, dict) or not all(isinstance(part, dict) for part in saved.values()):
        raise UserError(f"{path} is no training state: its entry 'models' is no dict of models")
    if set(saved) != set(names):
        raise UserError(
            f"{path} holds the models {', '.join(map(str, saved))}, but this trainer has "
            f"{', '.join(names)}; is it the folder of another run?"
        )
    if state["epoch"] is None or any(not isinstance(part.get("state_dict"), dict) for part in saved.values()):
        raise UserError(f"{path} is no training state: an epoch or a model's 'state_dict' is missing")
    return {**state, "source": path}


def _numbered_paths(directory: str, names: Sequence[str]) -> tuple[int, dict[str, str]] | None:
    """Return (epoch, model -> path) of the newest epoch that all models were saved at; epoch -1: ask the files.

    A model without any checkpoint means that the first save was cut off: there is nothing to resume.
    """
    folders = {name: os.path.join(directory, name) for name in names}
    found = {name: find_checkpoints(folder) for name, folder in folders.items()}
    common = set.intersection(*map(set, found.values())) if found else set()
    if common:
        epoch = max(common)
        return epoch, {name: found[name][epoch] for name in names}
    if found and all(found.values()):
        files = ", ".join(list(checkpoints.values())[-1] for checkpoints in found.values())
        raise UserError(f"cannot resume: the models have no epoch in common (newest files: {files})")
    pointed = {name: _pointed_path(folder) for name, folder in folders.items()}
    if pointed and all(pointed.values()):
        return -1, pointed
    if any(pointed.values()):
        log.info(f"Incomplete checkpoint in {directory}: not every model was saved")
    return None


def _pointed_path(folder: str) -> str | None:
    return read_pointer(folder) if os.path.isfile(os.path.join(folder, POINTER)) else None


def _numbered_state(paths: dict[str, str]) -> dict[str, Any]:
    models = {name: load_checkpoint(path) for name, path in paths.items()}
    epochs = {model.get("epoch") for model in models.values()}
    if len(epochs) > 1 or None in epochs:
        listing = ", ".join(f"{path}: {models[name].get('epoch')}" for name, path in paths.items())
        raise UserError(f"cannot resume: the models' checkpoints are of different epochs ({listing})")
    first = next(iter(models.values()))
    return {
        "epoch": first["epoch"],
        "models": models,
        "trainer_state": first.get("trainer_state"),
        "source": ", ".join(paths.values()),
    }


def carry_best_over(source: str, target: str, names: Sequence[str]) -> None:
    """Copy the best-epoch checkpoints of a resumed folder into the new output folder."""
    for name in names:
        old, new = os.path.join(source, name, BEST), os.path.join(target, name, BEST)
        if os.path.isfile(old) and os.path.abspath(old) != os.path.abspath(new):
            with atomic_path(new) as temporary:
                shutil.copy(old, temporary)
