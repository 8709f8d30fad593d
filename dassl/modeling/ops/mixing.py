"""Layers that mix the feature statistics of a batch while training, and switches for all of them in a model."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn


class _Mixing(nn.Module):
    """With probability ``p``, mixes each feature map (B, C, H, W) with another image's, in training mode only.

    Args:
        p: how often.
        alpha: shares are drawn from Beta(alpha, alpha).
        eps: added to variances.
        mix: ``random`` pairs any two images; ``crossdomain`` pairs the halves of the batch, one per domain.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-6, mix: str = "random") -> None:
        super().__init__()
        self.p, self.alpha, self.eps, self.mix = p, alpha, eps, mix
        self.beta = torch.distributions.Beta(alpha, alpha)
        self._activated = True

    def extra_repr(self) -> str:
        return f"p={self.p}, alpha={self.alpha}, eps={self.eps}, mix={self.mix}"

    def set_activation_status(self, status: bool = True) -> None:
        """Switch the layer on or off."""
        self._activated = status

    def update_mix_method(self, mix: str = "random") -> None:
        """Set ``random`` or ``crossdomain``."""
        self.mix = mix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, C, H, W), mixed or as it is."""
        if not self.training or not self._activated or random.random() > self.p:
            return x
        share = self.beta.sample((len(x), 1, 1, 1)).to(x.device)
        return self._mixed(x, share, self._partners(len(x)))

    def _partners(self, size: int) -> torch.Tensor:
        if self.mix == "random":
            return torch.randperm(size)
        if self.mix == "crossdomain":
            second, first = torch.arange(size - 1, -1, -1).chunk(2)
            return torch.cat([half[torch.randperm(len(half))] for half in (second, first)])
        raise NotImplementedError(f"mix {self.mix!r}; allowed: random, crossdomain")

    def _mixed(self, x: torch.Tensor, share: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class MixStyle(_Mixing):
    """Mixes channel means and standard deviations (Zhou et al. 2021, arXiv 2104.02008)."""

    def _mixed(self, x: torch.Tensor, share: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True).detach()
        deviation = (x.var(dim=(2, 3), keepdim=True) + self.eps).sqrt().detach()
        plain = (x - mean) / deviation
        mean = mean * share + mean[partners] * (1 - share)
        return plain * (deviation * share + deviation[partners] * (1 - share)) + mean


class EFDMix(_Mixing):
    """Mixes sorted channel values, the whole distribution (Zhang et al. 2022, arXiv 2203.07740)."""

    def _mixed(self, x: torch.Tensor, share: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        values, order = flat.sort(dim=-1)
        others = values[partners].gather(-1, order.argsort(dim=-1))  # each value's counterpart of the same rank
        return x + ((1 - share.flatten(2)) * (others - flat).detach()).view_as(x)


def _switch(kind: type[_Mixing], change: Callable[[_Mixing], None], module: nn.Module) -> None:
    if type(module) is kind:
        change(module)


def _switches(kind: type[_Mixing]) -> list[Callable[[nn.Module], None]]:
    """For ``model.apply``: switch on, switch off, mix at random, mix across domains."""
    changes = (
        lambda layer: layer.set_activation_status(True),
        lambda layer: layer.set_activation_status(False),
        lambda layer: layer.update_mix_method("random"),
        lambda layer: layer.update_mix_method("crossdomain"),
    )
    return [partial(_switch, kind, change) for change in changes]


activate_mixstyle, deactivate_mixstyle, random_mixstyle, crossdomain_mixstyle = _switches(MixStyle)
activate_efdmix, deactivate_efdmix, random_efdmix, crossdomain_efdmix = _switches(EFDMix)


@contextmanager
def _run(kind: type[_Mixing], on: bool, model: nn.Module, mix: str | None = None) -> Iterator[None]:
    start, stop, at_random, across = _switches(kind)
    if mix is not None:
        model.apply({"random": at_random, "crossdomain": across}[mix])
    model.apply(start if on else stop)
    try:
        yield
    finally:
        model.apply(stop if on else start)


run_with_mixstyle, run_without_mixstyle = partial(_run, MixStyle, True), partial(_run, MixStyle, False)
run_with_efdmix, run_without_efdmix = partial(_run, EFDMix, True), partial(_run, EFDMix, False)
