"""One or several updates a batch, in any precision, and the message of a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from dassl.engine import TrainerX
from dassl.engine.models import Names
from dassl.utils.errors import UserError
from promptshift.bases.finite import first_bad_output, first_bad_weight
from promptshift.modeling.clip import FrozenCLIP


class UpdatingTrainer(TrainerX):
    """Takes the steps that `updates` asks for.

    A subclass implements `loss` or `updates`, and sets:
      precision: one of fp32, fp16, bf16, amp
      scaler: a GradScaler where precision is amp, else None
      clip: the frozen CLIP
    """

    BLOCK = ""
    precision: str
    scaler: torch.amp.GradScaler | None
    clip: FrozenCLIP

    def loss(self, batch: dict) -> dict[str, Tensor]:
        """A training batch -> {"loss": scalar, other scalars to log}."""
        raise NotImplementedError

    def autocast(self):
        """Autocast where precision is `amp`, nothing otherwise."""
        return torch.autocast(self.device.type) if self.precision == "amp" else nullcontext()

    def updates(self, batch: dict) -> Iterator[tuple[Names, dict[str, Tensor]]]:
        """What a batch updates, in turn: (registered names, None for all; {"loss": scalar, other scalars to log}).

        Where there are several, each loss is computed after the update before it.
        """
        yield None, self.loss(batch)

    def forward_backward(self, batch: dict) -> dict[str, float]:
        shown, total = {}, 0.0
        updates = self.updates(batch)
        while (update := self._next(updates)) is not None:
            names, parts = update
            read = _read(parts)
            for name, value in read.items():
                if not math.isfinite(value):
                    raise UserError(self._where_not_finite(name, batch))
            self.step(parts["loss"], names)
            shown |= read
            total += read["loss"]
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return shown | {"loss": total}

    def _next(self, updates: Iterator) -> tuple | None:
        with self.autocast():  # around the losses alone, not their backward pass
            return next(updates, None)

    def step(self, loss: Tensor, names: Names = None) -> None:
        """One update by a finite loss of the named models, of all without names; with `amp` through the scaler."""
        names = self.get_model_names(names)
        self.model_zero_grad(names)
        if self.scaler is None:
            loss.backward()
            self.after_backward(names)
            self.model_update(names)
            return
        self.scaler.scale(loss).backward()
        names = [name for name in names if _has_gradients(self._optims[name])]  # the scaler refuses the others
        for name in names:
            self.scaler.unscale_(self._optims[name])
        self.after_backward(names)
        for name in names:
            self.scaler.step(self._optims[name])
        self.scaler.update()

    def after_backward(self, names: list[str]) -> None:
        """Hook between the backward pass and the update of the named models."""

    def _where_not_finite(self, loss_name: str, batch: dict) -> str:
        def again() -> None:
            with self.autocast():
                list(self.updates(batch))

        learnt = [(name, self._models[name]) for name in self.get_model_names()]
        weight = first_bad_weight(learnt)
        output = None if weight else first_bad_output([*learnt, ("clip", self.clip.model)], again)
        what = weight or (f"the output of {output}" if output else loss_name)
        return (
            f"training stopped at epoch {self.epoch + 1}, batch {self.batch_idx + 1}: {what} is the first tensor "
            f"that is not finite; lower OPTIM.LR ({self.cfg.OPTIM.LR}) or set TRAINER.{self.BLOCK}.PREC fp32"
        )


def _read(parts: dict[str, Tensor]) -> dict[str, float]:
    """Values of scalar tensors, in one copy from the device, which waits for it once."""
    device = parts["loss"].device  # a term that is switched off may lie on the CPU
    values = torch.cat([value.detach().reshape(1).to(device) for value in parts.values()])
    return dict(zip(parts, values.tolist()))


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
