"""Top-k accuracy."""

from collections.abc import Sequence

import torch

__all__ = ["compute_accuracy"]


@torch.no_grad()
def compute_accuracy(
    output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor, topk: Sequence[int] = (1,)
) -> list[torch.Tensor]:
    """Percentage of samples whose label is among the k highest scores.

    Args:
        output: scores (B, K); of a tuple, the first.
        target: labels (B,).
        topk: values of k.

    Returns:
        One tensor (1,) in [0, 100] per k.
    """
    if isinstance(output, tuple | list):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices  # (B, max k)
    hits = ranked == target.view(-1, 1)
    return [hits[:, :k].any(dim=1).float().sum().view(1) * (100.0 / target.shape[0]) for k in topk]
