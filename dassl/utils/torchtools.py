"""Checkpoints and parameters."""

import logging
import os
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial  # noqa: F401 - public trainer files import it from here
from typing import Any

import torch
from torch import nn

from . import legacy
from .archives import refuse_harmful_file
from .errors import UserError, shorten
from .loading import check_finite, fitting, load_optimizer, load_weights
from .writing import atomic_path

log = logging.getLogger(__name__)

__all__ = [
    "count_num_param",
    "find_checkpoints",
    "init_network_weights",
    "load_checkpoint",
    "load_pretrained_weights",
    "load_state",
    "open_all_layers",
    "open_specified_layers",
    "read_pointer",
    "resume_from_checkpoint",
    "save_checkpoint",
    "save_torch",
]

POINTER = "checkpoint"
BEST = "model-best.pth.tar"
_NUMBERED = re.compile(r"model\.pth\.tar-(\d+)")


def save_checkpoint(
    state: dict[str, Any],
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write a checkpoint, and the text file ``checkpoint`` that names the last numbered one.

    Args:
        state: upstream's keys ``state_dict``, ``epoch`` (from 1), ``optimizer``, ``scheduler``, ``val_result``.
        save_dir: folder of one model.
        is_best: also keep it as ``model-best.pth.tar``.
        remove_module_from_keys: drop DataParallel's prefix ``module.``.
        model_name: file name; empty is ``model.pth.tar-<epoch>``.
    """
    if remove_module_from_keys:
        weights = OrderedDict((k.removeprefix("module."), v) for k, v in state["state_dict"].items())
        state = {**state, "state_dict": weights}
    name = model_name or f"model.pth.tar-{state['epoch']}"
    fpath = os.path.join(save_dir, name)
    save_torch(state, fpath)
    log.info(f"Checkpoint saved to {fpath}")
    if name != BEST:  # the pointer is for resuming, and the best epoch is not where training stopped
        with atomic_path(os.path.join(save_dir, POINTER)) as temporary:
            temporary.write_text(f"{name}\n", encoding="utf-8")
    if is_best and name != BEST:
        best = os.path.join(save_dir, BEST)
        with atomic_path(best) as temporary:
            shutil.copy(fpath, temporary)
        log.info(f'Best checkpoint saved to "{best}"')


def save_torch(obj: Any, fpath: str | os.PathLike) -> None:
    """Write what ``torch.load`` reads, so that the file is either the old or the new one, never a part.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    with atomic_path(fpath) as temporary:
        torch.save(obj, temporary)


def load_checkpoint(fpath: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint of ours or of upstream's onto the CPU, running no code from it.

    Raises:
        UserError: missing, cut off, not a dict with a ``state_dict``, or with numbers that are not finite.
    """
    checkpoint = _load_torch_file(fpath)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{fpath} is no checkpoint of a trainer: expected a dict with the key 'state_dict'")
    check_finite(checkpoint, str(fpath))
    _place_in_schedule(checkpoint)
    return checkpoint


def _place_in_schedule(checkpoint: dict[str, Any]) -> None:
    """Give upstream's warm-up schedule the place that it had when it was saved.

    It counts no further than the warm-up; its successor, a pickled object of which nothing is read, goes on counting.
    Together they have made one step for each epoch that the checkpoint says is done.
    """
    scheduler, epoch = checkpoint.get("scheduler"), checkpoint.get("epoch")
    if isinstance(scheduler, dict) and "successor" in scheduler and isinstance(epoch, int):
        scheduler["last_epoch"] = epoch


def _load_torch_file(fpath: str | os.PathLike) -> Any:
    if fpath is None:
        raise UserError("no checkpoint path was given")
    if not os.path.isfile(fpath):
        raise UserError(f'no checkpoint at "{fpath}"')
    if os.path.getsize(fpath) == 0:
        raise UserError(f"checkpoint {fpath} is empty (0 bytes): expected a file written by torch.save")
    try:
        refuse_harmful_file(fpath)
        try:
            return torch.load(fpath, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # an object of a class that only the restricted reader lets pass, inert
            return legacy.load_torch(fpath)
    except Exception as error:
        reason = shorten((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise UserError(f"checkpoint {fpath} is cut off or was not written by torch.save: {reason}") from None


def load_state(fpath: str | os.PathLike, keys: Iterable[str]) -> dict[str, Any]:
    """Read a rolling training state and check that it has ``keys``.

    Raises:
        UserError: missing, cut off, something else, or with numbers that are not finite.
    """
    state = _load_torch_file(fpath)
    absent = [k for k in keys if not isinstance(state, dict) or k not in state]
    if absent:
        raise UserError(f"{fpath} is no training state: expected a dict with the key {absent[0]!r}")
    check_finite(state, str(fpath))
    return state


def find_checkpoints(folder: str) -> dict[int, str]:
    """Return epoch -> path of the numbered checkpoints in a model's folder, ascending."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [(int(m[1]), os.path.join(folder, m[0])) for m in map(_NUMBERED.fullmatch, names) if m]
    return dict(sorted(found))


def read_pointer(folder: str | os.PathLike) -> str:
    """Return the path of the checkpoint that the text file ``checkpoint`` of a model's folder names.

    Raises:
        UserError: there is no such file, or it names no file of the folder.
    """
    pointer = os.path.join(folder, POINTER)
    if not os.path.isfile(pointer):
        raise UserError(f'no file named "{POINTER}" in {folder}, so there is nothing to resume from')
    with open(pointer, encoding="utf-8", errors="backslashreplace") as file:
        name = file.readline(1000).strip()
    if not name or os.path.basename(name) != name or "\0" in name:
        raise UserError(f"{pointer} names {shorten(repr(name))}, allowed: the name of a checkpoint in its folder")
    return os.path.join(folder, name)


def resume_from_checkpoint(
    fdir: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> int:
    """Load the checkpoint that ``<fdir>/checkpoint`` names and return its epoch.

    Raises:
        UserError: no pointer file, or its checkpoint is missing or unreadable.
    """
    fpath = read_pointer(fdir)
    checkpoint = load_checkpoint(fpath)
    if checkpoint.get("epoch") is None:
        raise UserError(f"{fpath} does not say after which epoch it was saved: the key 'epoch' is missing")
    log.info(f'Loading checkpoint from "{fpath}"')
    load_weights(model, checkpoint["state_dict"], type(model).__name__, fpath)
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        load_optimizer(optimizer, checkpoint["optimizer"], "optimizer", fpath)
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        fitting(fpath, "scheduler", scheduler.load_state_dict, checkpoint["scheduler"])
    log.info(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Load every tensor of a file whose name and shape ``model`` has; the others are named in a line.

    Raises:
        UserError: the file is unreadable, nothing in it fits, or it holds numbers that are not finite.
    """
    content = _load_torch_file(weight_path)
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    own = model.state_dict()
    matched, left = {}, []
    for key, value in (weights if isinstance(weights, dict) else {}).items():
        key = shorten(key).removeprefix("module.")
        if key in own and isinstance(value, torch.Tensor) and own[key].shape == value.shape:
            matched[key] = value
        else:
            left.append(key)
    if not matched:
        raise UserError(f"no tensor in {weight_path} fits {type(model).__name__} by name and shape")
    check_finite(matched, str(weight_path))
    load_weights(model, {**own, **matched}, type(model).__name__, str(weight_path))
    log.info(f"Successfully loaded pretrained weights from {weight_path}")
    if left:
        log.info(f"Layers discarded because their name or shape does not fit: {left}")


def open_all_layers(model: nn.Module) -> None:
    """Make every parameter trainable and put the model in training mode."""
    model.train()
    model.requires_grad_(True)


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Train only the named children; the others are frozen and put in evaluation mode.

    Raises:
        UserError: a name that is no child of ``model``.
    """
    wanted = [open_layers] if isinstance(open_layers, str) else open_layers
    children = dict(model.named_children())
    for name in wanted:
        if name not in children:
            raise UserError(f"{name!r} is no layer of {type(model).__name__} (layers: {', '.join(children)})")
    for name, module in children.items():
        module.train(name in wanted)
        module.requires_grad_(name in wanted)


def count_num_param(model: nn.Module | None = None, params: Iterable | None = None) -> int:
    """Number of values in a model's parameters, or in ``params`` (tensors, or an optimizer's groups)."""
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param() needs a model or params")
    tensors = [t for p in params for t in (p["params"] if isinstance(p, dict) else [p])]
    return sum(t.numel() for t in tensors)


_INITS = {
    "normal": lambda w, gain: nn.init.normal_(w, 0.0, gain),
    "xavier": lambda w, gain: nn.init.xavier_normal_(w, gain=gain),
    "kaiming": lambda w, gain: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
    "orthogonal": lambda w, gain: nn.init.orthogonal_(w, gain=gain),
}


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Initialise linear and convolution weights by ``init_type``, biases to 0, normalisation layers to 1 and 0.

    Raises:
        UserError: an unknown ``init_type``.
    """
    if init_type not in _INITS:
        raise UserError(f"init_type {init_type!r} is not one of {', '.join(_INITS)}")
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            _INITS[init_type](weight, gain)
        elif isinstance(module, nn.modules.batchnorm._NormBase) and weight is not None:
            nn.init.constant_(weight, 1.0)
        else:
            continue
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.0)
