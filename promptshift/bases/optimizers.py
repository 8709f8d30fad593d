"""What released codes change of an optimizer after Dassl has built it."""

from __future__ import annotations

from torch.optim import Optimizer


def with_eps(optimizer: Optimizer, eps: float) -> Optimizer:
    """Return an optimizer with another epsilon, where it is of Adam's kind and has one."""
    for group in optimizer.param_groups:
        if "eps" in group:
            group["eps"] = eps
    return optimizer
