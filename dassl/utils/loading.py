"""Taking over what a checkpoint holds: only finite numbers, of the kind and shape that the receiver has."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import FOREIGN, UserError, shorten

__all__ = ["check_finite", "fitting", "load_optimizer", "load_weights"]

_MOST_EPOCHS = 10**9


def check_finite(content: Any, source: str) -> None:
    """Check every tensor below a dict or list, and what is called ``epoch`` or ``state_dict`` anywhere in it.

    Args:
        content: what a checkpoint holds.
        source: its path.

    Raises:
        UserError: an infinite or NaN number in a tensor, a tensor that is not dense, an epoch that is no whole number
            of at least 0, a weight whose name is no string.
    """
    waiting, seen = [("", content)], set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            _check_tensor(value, name, source)
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in pairs:
                _check_entry(name, key, part, source)
                waiting.append((f"{name}.{shorten(key, 60)}" if name else shorten(key, 60), part))


def _check_tensor(value: Tensor, name: str, source: str) -> None:
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise UserError(f"{source}: {shorten(name)} is no plain tensor ({value.layout}, {value.dtype})")
    if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all()):
        raise UserError(f"{source}: the tensor {shorten(name)} holds NaN or infinite numbers; make the file again")


def _check_entry(name: str, key: Any, part: Any, source: str) -> None:
    if key == "epoch" and part is not None and not (type(part) is int and 0 <= part <= _MOST_EPOCHS):
        raise UserError(
            f"{source}: {name + '.' if name else ''}epoch is {shorten(repr(part), 60)}, allowed: 0 and more"
        )
    if name.rsplit(".", 1)[-1] == "state_dict" and not isinstance(key, str):
        raise UserError(f"{source}: {name} has the entry {shorten(repr(key), 60)}, allowed: names of tensors")


def fitting(source: str, what: str, load: Callable[[Any], Any], content: Any) -> Any:
    """Return ``load(content)``; whatever it says about foreign content becomes one line.

    Raises:
        UserError: ``content`` of the file ``source`` is not what ``what`` takes.
    """
    try:
        return load(content)
    except FOREIGN as error:
        raise UserError(f"{source} does not fit the {what}: {shorten(error, 1000)}") from None


def load_weights(module: nn.Module, state: dict[str, Any], what: str, source: str) -> None:
    """Load a state dict; numbers of another kind (integer, floating, complex) are refused, not cast.

    Args:
        module: its dtypes are kept; a half-precision checkpoint goes into a float32 module.
        state: name -> tensor.
        what: the module in words, for the message.
        source: path of the checkpoint.

    Raises:
        UserError: other names, shapes or kinds of numbers.
    """
    own = fitting(source, what, lambda _: module.state_dict(), None)
    for name in sorted(own.keys() & state.keys()):
        given, wanted = state[name], own[name]
        if not isinstance(given, Tensor):
            raise UserError(f"{source} does not fit the {what}: {name} is a {type(given).__name__}, allowed: a tensor")
        if isinstance(wanted, Tensor) and _kind(given) != _kind(wanted):
            raise UserError(f"{source} does not fit the {what}: {name} is {given.dtype}, allowed: {_kind(wanted)}")
    fitting(source, what, module.load_state_dict, state)


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "floating-point" if tensor.is_floating_point() else "integer"


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any], what: str, source: str) -> None:
    """Load an optimizer's state whose settings and moments are of the kinds and shapes of the optimizer's.

    Raises:
        UserError: they are not.
    """
    before = [dict(group) for group in optimizer.param_groups]
    fitting(source, what, optimizer.load_state_dict, state)
    fitting(source, what, lambda _: _check_optimizer(optimizer, before), None)


def _check_optimizer(optimizer: torch.optim.Optimizer, before: list[dict]) -> None:
    for old, group in zip(before, optimizer.param_groups, strict=True):
        if "initial_lr" in old:  # the schedule's note, which an optimizer that was saved without one lacks
            group.setdefault("initial_lr", old["initial_lr"])
        for key in old.keys() - {"params"}:
            if not _alike(old[key], group[key]):
                raise ValueError(f"{key} is {shorten(repr(group[key]), 60)}, the optimizer's own is {old[key]!r}")
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            if isinstance(value, Tensor) and value.shape not in (parameter.shape, torch.Size([])):
                raise ValueError(f"{key} has the shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


def _alike(first: Any, second: Any) -> bool:
    number = (int, float)
    if isinstance(first, number) and isinstance(second, number):
        return isinstance(first, bool) == isinstance(second, bool)
    return first is None or second is None or type(first) is type(second)
