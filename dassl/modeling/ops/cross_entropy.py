"""Cross-entropy with soft labels."""

import torch
import torch.nn.functional as F


def cross_entropy(
    input: torch.Tensor,  # noqa: A002 - upstream's name
    target: torch.Tensor,
    label_smooth: float = 0,
    reduction: str = "mean",
) -> torch.Tensor:
    """Return the cross-entropy of logits and labels.

    Args:
        input: logits (B, K).
        target: class indices (B,) or probabilities (B, K).
        label_smooth: in [0, 1], with indices: this share of the label is spread over all classes.
        reduction: ``mean``, ``sum`` or ``none``.
    """
    return F.cross_entropy(input, target, label_smoothing=label_smooth, reduction=reduction)
