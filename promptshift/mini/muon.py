"""Muon (Liu et al. 2025, arXiv 2502.16982): momentum whose matrix is orthogonalised before it is applied.

`torch.optim.Muon` orthogonalises in bfloat16, which processors without bfloat16 units emulate ten times slower than
float32, and exists only since torch 2.9; this one works in float32 on any version.
"""

from collections.abc import Iterable

import torch


def orthogonalise(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Approximate the nearest semi-orthogonal matrix by the quintic Newton-Schulz iteration.

    Args:
        matrix: (R, C) float32.
        iterations: singular values end within about .7 to 1.2 after five.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the Gram matrix takes the shorter side
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised and scaled to the update size of AdamW; decoupled weight decay.

    Args:
        params: two-dimensional tensors.
        lr: step size on AdamW's scale.
        momentum: decay of the gradient's running mean.
        weight_decay: decoupled, times lr.
    """

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Apply one update to every tensor."""
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("momentum", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalise(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)  # arXiv 2502.16982, eq. 4
