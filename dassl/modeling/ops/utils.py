"""Small helpers of semi-supervised and adversarial trainers."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def sharpen_prob(p: torch.Tensor, temperature: float = 2) -> torch.Tensor:
    """Return probabilities (B, K) raised to ``temperature`` and normalised again."""
    p = p.pow(temperature)
    return p / p.sum(1, keepdim=True)


def reverse_index(data: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both in reverse order."""
    return data.flip(0), label.flip(0)


def shuffle_index(data: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both in one random order."""
    order = torch.randperm(len(data))
    return data[order], label[order]


def create_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return float one-hot rows (B, num_classes) of labels (B,), on their device."""
    return F.one_hot(label, num_classes).float()


def sigmoid_rampup(current: float, rampup_length: float) -> float:
    """Return exp(-5 (1 - t)^2) with t = current / rampup_length clipped to [0, 1]."""
    return math.exp(-5.0 * (1.0 - linear_rampup(current, rampup_length)) ** 2)


def linear_rampup(current: float, rampup_length: float) -> float:
    """Return current / rampup_length clipped to [0, 1].

    Raises:
        ValueError: a length that is not above 0.
    """
    if rampup_length <= 0:
        raise ValueError(f"rampup_length must be above 0, but is {rampup_length}")
    return float(min(max(current / rampup_length, 0.0), 1.0))


@torch.no_grad()
def ema_model_update(model: nn.Module, ema_model: nn.Module, alpha: float) -> None:
    """Move the parameters of ``ema_model`` towards those of ``model``: alpha of the old, 1 - alpha of the new."""
    for average, new in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.mul_(alpha).add_(new, alpha=1 - alpha)
