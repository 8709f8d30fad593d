"""Learning-rate schedules as pure functions of (configuration, epoch).

The numbers are Dassl 0.6.3's. A scheduler object holds nothing but the epoch counter, so a checkpoint of it is one
integer, and a resumed run follows the current configuration.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from yacs.config import CfgNode

from ..utils.errors import UserError, suggest

__all__ = [
    "ConstantWarmupScheduler",
    "EpochScheduler",
    "LinearWarmupScheduler",
    "build_lr_scheduler",
    "learning_rate",
]

Rate = Callable[[int, float], float]  # (epoch from 0, base learning rate) -> learning rate used in that epoch


class EpochScheduler(LRScheduler):
    """A torch scheduler that looks its rates up by epoch.

    Args:
        optimizer: its groups' rates are the base rates.
        rate: (epoch from 0, base rate) -> rate.
    """

    def __init__(self, optimizer: Optimizer, rate: Rate) -> None:
        self.rate = rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """Rates of all groups at the current epoch."""
        return [self.rate(self.last_epoch, base_lr) for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The epoch counter and, for the reader, the rates."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs), "_last_lr": self.get_last_lr()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the epoch counter only, and set the optimizer's rates to this configuration's."""
        self.last_epoch = int(state_dict["last_epoch"])
        self._last_lr = self.get_lr()
        for group, lr, base_lr in zip(self.optimizer.param_groups, self._last_lr, self.base_lrs, strict=True):
            group["lr"] = lr
            group["initial_lr"] = base_lr


class ConstantWarmupScheduler(EpochScheduler):
    """``cons_lr`` for ``warmup_epoch`` epochs, then ``successor``'s schedule (see :func:`_warm_up`)."""

    def __init__(
        self, optimizer: Optimizer, successor: EpochScheduler, warmup_epoch: int, cons_lr: float, recount: bool = True
    ) -> None:
        super().__init__(optimizer, _warm_up(successor.rate, warmup_epoch, _constant(cons_lr), recount))


class LinearWarmupScheduler(EpochScheduler):
    """A line from ``min_lr`` to the base rate over ``warmup_epoch`` epochs, then ``successor``'s schedule."""

    def __init__(
        self, optimizer: Optimizer, successor: EpochScheduler, warmup_epoch: int, min_lr: float, recount: bool = True
    ) -> None:
        super().__init__(optimizer, _warm_up(successor.rate, warmup_epoch, _linear(min_lr, warmup_epoch), recount))


def _constant(cons_lr: float) -> Rate:
    return lambda epoch, base_lr: cons_lr


def _linear(min_lr: float, warmup_epoch: int) -> Rate:
    return lambda epoch, base_lr: min_lr if epoch == 0 else base_lr * epoch / warmup_epoch


def _warm_up(successor: Rate, warmup_epoch: int, warmup: Rate, recount: bool) -> Rate:
    """Join a warm-up and a schedule.

    With ``recount`` the schedule starts at its beginning when the warm-up ends. Without, it has been running all
    along and is scaled to leave the warm-up at the base rate, which is what torch's chained rules do to it upstream.
    """

    def rate(epoch: int, base_lr: float) -> float:
        if epoch < warmup_epoch:
            return warmup(epoch, base_lr)
        if recount:
            return successor(epoch - warmup_epoch, base_lr)
        if epoch == warmup_epoch:
            return base_lr
        return base_lr * successor(epoch, base_lr) / successor(warmup_epoch, base_lr)

    return rate


def _single_step(c: CfgNode) -> Rate:
    """Times GAMMA every STEPSIZE epochs; a step below 1 is MAX_EPOCH."""
    size = c.STEPSIZE[-1] if isinstance(c.STEPSIZE, Sequence) else c.STEPSIZE
    size = size if size > 0 else c.MAX_EPOCH
    return lambda epoch, base_lr: base_lr * c.GAMMA ** (epoch // size)


def _multi_step(c: CfgNode) -> Rate:
    """Times GAMMA at each epoch in STEPSIZE."""
    milestones = sorted(c.STEPSIZE)
    return lambda epoch, base_lr: base_lr * c.GAMMA ** bisect.bisect_right(milestones, epoch)


def _cosine(c: CfgNode) -> Rate:
    """Half a cosine from 1 to 0 over MAX_EPOCH epochs (arXiv 1608.03983, one period)."""
    return lambda epoch, base_lr: base_lr * (1 + math.cos(math.pi * epoch / c.MAX_EPOCH)) / 2


_SCHEDULES = {"single_step": _single_step, "multi_step": _multi_step, "cosine": _cosine}
AVAI_SCHEDS = list(_SCHEDULES)


def _rate(c: CfgNode) -> Rate:
    if c.LR_SCHEDULER not in _SCHEDULES:
        raise UserError(
            f"OPTIM.LR_SCHEDULER {c.LR_SCHEDULER!r} is unknown{suggest(c.LR_SCHEDULER, AVAI_SCHEDS)} "
            f"(allowed: {', '.join(AVAI_SCHEDS)})"
        )
    if c.MAX_EPOCH < 1:
        raise UserError(f"OPTIM.MAX_EPOCH must be at least 1, not {c.MAX_EPOCH}")
    schedule = _SCHEDULES[c.LR_SCHEDULER](c)
    if c.WARMUP_EPOCH <= 0:
        return schedule
    warmups = {"constant": _constant(c.WARMUP_CONS_LR), "linear": _linear(c.WARMUP_MIN_LR, c.WARMUP_EPOCH)}
    if c.WARMUP_TYPE not in warmups:
        raise UserError(
            f"OPTIM.WARMUP_TYPE {c.WARMUP_TYPE!r} is unknown{suggest(c.WARMUP_TYPE, warmups)} "
            f"(allowed: {', '.join(warmups)})"
        )
    return _warm_up(schedule, c.WARMUP_EPOCH, warmups[c.WARMUP_TYPE], c.WARMUP_RECOUNT)


def learning_rate(optim_cfg: CfgNode, epoch: int) -> float:
    """The learning rate used in ``epoch`` (from 0) under ``cfg.OPTIM``.

    Raises:
        UserError: an unknown schedule or warm-up, or a schedule without epochs.
    """
    return _rate(optim_cfg)(epoch, optim_cfg.LR)


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> EpochScheduler:
    """Build the schedule of ``OPTIM.LR_SCHEDULER`` with its warm-up; call ``step()`` once per epoch.

    Raises:
        UserError: an unknown schedule or warm-up, or a schedule without epochs.
    """
    return EpochScheduler(optimizer, _rate(optim_cfg))
