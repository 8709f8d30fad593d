"""Two values of the same learnable tensors: those tuned before, which stay, and those trained in parallel (DPC)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

T = TypeVar("T")
TUNED = "tuned."


class DualPrompt(nn.Module):
    """A module P' that is trained, and the tensors P that it started from.

    The state dict holds P' under the module's own names and P under the same names behind `tuned.`.

    Args:
        module: its parameters are P', and, until `adopt` is called, P.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.parallel = module
        self.tuned: dict[str, Tensor] = {}
        self._mixed: tuple[object, dict[str, Tensor]] = (None, {})
        self.adopt()

    def _tensors(self) -> dict[str, Tensor]:
        """What training changes: learnable parameters and buffers."""
        learnt = {name: tensor for name, tensor in self.parallel.named_parameters() if tensor.requires_grad}
        return learnt | dict(self.parallel.named_buffers())

    def adopt(self) -> None:
        """Makes the module's present tensors P."""
        self.tuned = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def mixture(self, weight: float) -> dict[str, Tensor]:
        """weight * P' + (1 - weight) * P of every tensor that is no counter, kept until P' or the weight changes."""
        parallel = self._tensors()
        seen = weight, [tensor._version for tensor in parallel.values()]
        if self._mixed[0] != seen:
            self._mixed = (
                seen,
                {
                    name: torch.lerp(self.tuned[name], tensor, weight) if tensor.is_floating_point() else tensor
                    for name, tensor in parallel.items()
                },
            )
        return self._mixed[1]

    def at(self, weight: float) -> dict[str, Tensor]:
        """What stands in for the module's tensors at a weight of P': exactly P at 0, nothing (P' itself) at 1."""
        if weight == 1:
            return {}
        return self.mixture(weight) if weight else self.tuned

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        return {**self.parallel.state_dict(), **{TUNED + name: tensor for name, tensor in self.tuned.items()}}

    def load_state_dict(self, state: dict[str, Tensor], strict: bool = True) -> None:
        """Raises KeyError where P is not in the state: it is no checkpoint of two prompts."""
        self.parallel.load_state_dict({name: t for name, t in state.items() if not name.startswith(TUNED)})
        self.tuned = {name: _like(state[TUNED + name], tensor) for name, tensor in self._tensors().items()}


def _like(saved: Tensor, tensor: Tensor) -> Tensor:
    if saved.shape != tensor.shape:
        raise RuntimeError(f"a tuned tensor has the shape {tuple(saved.shape)}, not {tuple(tensor.shape)}")
    return saved.to(tensor, copy=True)


class _Scope(nn.Module):
    """Modules whose tensors may be replaced while something is computed."""

    def __init__(self, modules: Iterable[nn.Module]):
        super().__init__()
        self.modules_ = nn.ModuleList(modules)

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


def under(duals: Iterable[DualPrompt], weight: float, compute: Callable[[], T]) -> T:
    """compute() while every module's tensors are weight * P' + (1 - weight) * P."""
    duals = list(duals)
    tensors = {
        f"modules_.{i}.{name}": tensor for i, dual in enumerate(duals) for name, tensor in dual.at(weight).items()
    }
    if not tensors:
        return compute()
    return functional_call(_Scope(dual.parallel for dual in duals), tensors, (compute,))
