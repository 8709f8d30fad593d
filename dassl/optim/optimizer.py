"""Optimizers by name."""

import warnings
from collections.abc import Callable, Iterable

import torch
from torch import nn, optim
from yacs.config import CfgNode

from ..utils.errors import UserError, suggest

__all__ = ["AVAI_OPTIMS", "build_optimizer"]


def _sgd(groups: list, c: CfgNode) -> optim.Optimizer:
    return optim.SGD(
        groups,
        lr=c.LR,
        momentum=c.MOMENTUM,
        weight_decay=c.WEIGHT_DECAY,
        dampening=c.SGD_DAMPNING,
        nesterov=c.SGD_NESTEROV,
    )


def _rmsprop(groups: list, c: CfgNode) -> optim.Optimizer:
    return optim.RMSprop(groups, lr=c.LR, momentum=c.MOMENTUM, weight_decay=c.WEIGHT_DECAY, alpha=c.RMSPROP_ALPHA)


def _adam_like(kind: Callable, **extra: bool) -> Callable:
    def build(groups: list, c: CfgNode) -> optim.Optimizer:
        return kind(groups, lr=c.LR, weight_decay=c.WEIGHT_DECAY, betas=(c.ADAM_BETA1, c.ADAM_BETA2), **extra)

    return build


_BUILDERS = {
    "adam": _adam_like(optim.Adam),
    "amsgrad": _adam_like(optim.Adam, amsgrad=True),
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "radam": _adam_like(optim.RAdam),
    "adamw": _adam_like(optim.AdamW),
}
AVAI_OPTIMS = list(_BUILDERS)


def build_optimizer(
    model: nn.Module | Iterable, optim_cfg: CfgNode, param_groups: Iterable | None = None
) -> optim.Optimizer:
    """Build the optimizer called ``OPTIM.NAME``.

    Args:
        model: a module, or what torch optimizers take (parameters or groups).
        optim_cfg: ``cfg.OPTIM``.
        param_groups: groups to use instead of all of ``model``'s parameters; excludes ``STAGED_LR``.

    Raises:
        UserError: an unknown optimizer, a value it does not take, or staged rates without a module.
    """
    name = optim_cfg.NAME
    if name not in _BUILDERS:
        raise UserError(
            f"OPTIM.NAME {name!r} is unknown{suggest(name, AVAI_OPTIMS)} (allowed: {', '.join(AVAI_OPTIMS)})"
        )
    if param_groups is not None and optim_cfg.STAGED_LR:
        warnings.warn("OPTIM.STAGED_LR is ignored: parameter groups were given", stacklevel=2)
    if param_groups is None:
        if optim_cfg.STAGED_LR:
            param_groups = _staged_groups(model, optim_cfg)
        else:
            param_groups = model.parameters() if isinstance(model, nn.Module) else model
    groups = list(param_groups)
    if not groups:
        raise UserError(f"OPTIM.NAME {name!r}: the model has no parameters to train")
    largest = torch.finfo(torch.float32).max
    if not 0 <= optim_cfg.LR <= largest:
        raise UserError(f"OPTIM.LR: {optim_cfg.LR} is no learning rate; allowed: 0 to {largest:.1e}")
    try:
        return _BUILDERS[name](groups, optim_cfg)
    except ValueError as error:  # torch names the value: "Invalid momentum value: -1.0"
        raise UserError(f"OPTIM with NAME {name!r}: {error}") from None


def _staged_groups(model: nn.Module, c: CfgNode) -> list[dict[str, list[torch.Tensor] | float]]:
    """Two groups: base layers at ``LR * BASE_LR_MULT``, the layers named in ``NEW_LAYERS`` at ``LR``."""
    if not isinstance(model, nn.Module):
        raise UserError("OPTIM.STAGED_LR needs the whole model, not a list of parameters")
    new_layers = [c.NEW_LAYERS] if isinstance(c.NEW_LAYERS, str) else list(c.NEW_LAYERS)
    children = dict(model.named_children())
    for name in new_layers:
        if name not in children:
            raise UserError(f"OPTIM.NEW_LAYERS: {name!r} is no layer of the model (layers: {', '.join(children)})")
    if not new_layers:
        warnings.warn("OPTIM.STAGED_LR is on but OPTIM.NEW_LAYERS is empty", stacklevel=3)
    base = [p for n, m in children.items() if n not in new_layers for p in m.parameters()]
    new = [p for n in new_layers for p in children[n].parameters()]
    return [{"params": base, "lr": c.LR * c.BASE_LR_MULT}, {"params": new}]
