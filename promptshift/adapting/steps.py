"""A few optimizer steps on many images at once, each on prompts of its own: the numbers are those of one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from promptshift.losses import entropy

Values = Mapping[str, Tensor]


@dataclass
class Seen:
    """What the prompts that adaptation starts from make of N images.

    Attributes:
        views: (N, V, 3, S, S), the first view the clean one.
        features: (N, V, E), L2-normalised.
        logits: (N, V, K).
        start: the values that adaptation starts from, (N, ...) each.
    """

    views: Tensor
    features: Tensor
    logits: Tensor
    start: Values

    @property
    def entropies(self) -> Tensor:
        """(N, V), in nats."""
        return entropy(self.logits)


def adapt(
    start: Values, loss: Callable[[Values], Tensor], steps: int, lr: float, weight_decay: float, scale: float = 1.0
) -> tuple[dict[str, Tensor], Tensor]:
    """AdamW on copies of prompts, one copy an image.

    The loss is summed over the images and AdamW works element by element, so no image's update depends on another's.
    An image whose gradient is not finite in some step keeps what it had before that step.

    Args:
        start: the values that adaptation starts from, (N, ...) each: those of N images.
        loss: values like `start` -> one loss an image, (N,).
        steps: at least 1.
        scale: factor on the loss in the backward pass, taken out of the gradients again: half precision would round
            small ones to zero.

    Returns:
        The adapted values, detached, and a bool (N,): whether all of an image's steps were made.
    """
    values = {name: value.detach().clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.AdamW(values.values(), lr=lr, weight_decay=weight_decay)
    whole = torch.ones(len(next(iter(values.values()))), dtype=torch.bool)
    for _ in range(steps):
        before = [value.detach().clone() for value in values.values()]
        optimizer.zero_grad()
        with torch.enable_grad():
            (loss(values).float().sum() * scale).backward()
        finite = _clean_gradients(values, scale)
        optimizer.step()
        with torch.no_grad():
            for value, old in zip(values.values(), before):
                value[~finite] = old[~finite]
        whole &= finite.cpu()
    return {name: value.detach() for name, value in values.items()}, whole


def _clean_gradients(values: Values, scale: float) -> Tensor:
    """Divides the gradients by `scale` -> whether all of an image's gradients are finite, (N,); those of the other
    images become zero, so that the optimizer's averages stay finite too."""
    gradients = [value.grad for value in values.values() if value.grad is not None]
    for gradient in gradients:
        gradient /= scale
    finite = torch.stack([gradient.flatten(1).isfinite().all(dim=1) for gradient in gradients]).all(dim=0)
    for gradient in gradients:
        gradient[~finite] = 0
    return finite
