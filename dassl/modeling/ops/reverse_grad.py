"""Gradient reversal (arXiv 1409.7495)."""

import torch
from torch import nn


class ReverseGrad(nn.Module):
    """The identity forward, minus ``grad_scaling`` times the gradient backward."""

    def forward(self, x: torch.Tensor, grad_scaling: float = 1.0) -> torch.Tensor:
        """Return ``x`` (any shape); ``grad_scaling`` is at least 0.

        Raises:
            ValueError: a negative scaling.
        """
        if grad_scaling < 0:
            raise ValueError(f"grad_scaling must not be negative, but is {grad_scaling}")
        out = x.view_as(x)
        if out.requires_grad:
            out.register_hook(lambda gradient: -grad_scaling * gradient)
        return out
