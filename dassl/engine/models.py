"""Models that a trainer knows by name, with their optimizers and schedules."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..utils.errors import NonFiniteLossError, UserError
from ..utils.tools import tolist_if_not

__all__ = ["ModelBook"]

Names = str | Sequence[str] | None


class ModelBook:
    """Registers models and switches, steps and updates them by name (all of them when no name is given)."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, torch.optim.Optimizer | None] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: torch.optim.Optimizer | None = None,
        sched: Any = None,
    ) -> None:
        """Make a model known by name, so that it is saved, loaded, switched and updated with the others.

        Raises:
            UserError: the name is taken, or the model is wrapped in DataParallel.
        """
        if "_models" not in self.__dict__:
            raise AttributeError("call super().__init__() before register_model()")
        if name in self._models:
            raise UserError(f"a model named {name!r} is already registered")
        if isinstance(model, nn.DataParallel):
            raise UserError(
                f"model {name!r} is wrapped in nn.DataParallel, which is not supported: "
                "use one GPU per run (CUDA_VISIBLE_DEVICES) and run seeds side by side"
            )
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names: Names = None) -> list[str]:
        """The given names, checked, or all registered ones.

        Raises:
            UserError: a name that is not registered.
        """
        if names is None:
            return list(self._models)
        wanted = tolist_if_not(names if isinstance(names, str) else list(names))
        for name in wanted:
            if name not in self._models:
                raise UserError(f"no model named {name!r} is registered (registered: {', '.join(self._models)})")
        return wanted

    def set_model_mode(self, mode: str = "train", names: Names = None) -> None:
        """Switch models to ``train`` or to ``eval`` (also called ``test``).

        Raises:
            KeyError: another mode.
        """
        if mode not in ("train", "test", "eval"):
            raise KeyError(f"unknown model mode {mode!r}")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    def update_lr(self, names: Names = None) -> None:
        """Step the learning-rate schedules; trainers call it at the last batch of an epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def get_current_lr(self, names: Names = None) -> float:
        """Learning rate of the first model that has an optimizer; 0 when none has."""
        optims = [self._optims[name] for name in self.get_model_names(names) if self._optims[name] is not None]
        return optims[0].param_groups[0]["lr"] if optims else 0.0

    def detect_anomaly(self, loss: torch.Tensor) -> None:
        """Stop on a loss that is not finite.

        Raises:
            NonFiniteLossError: which is also a FloatingPointError, as upstream's.
        """
        if not torch.isfinite(loss).all():
            where = f"epoch {getattr(self, 'epoch', 0) + 1}, batch {getattr(self, 'batch_idx', 0) + 1}"
            raise NonFiniteLossError(
                f"the loss is infinite or NaN at {where}: lower OPTIM.LR, or use fp32 instead of half precision"
            )

    def model_zero_grad(self, names: Names = None) -> None:
        """Clear the gradients of the models' optimizers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a finite loss."""
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: Names = None) -> None:
        """Step the models' optimizers."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: torch.Tensor, names: Names = None) -> None:
        """Clear, backpropagate, step."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)
