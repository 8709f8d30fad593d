"""Mixup (arXiv 1710.09412)."""

import torch


def mixup(
    x1: torch.Tensor, x2: torch.Tensor, y1: torch.Tensor, y2: torch.Tensor, beta: float, preserve_order: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (B, C, H, W) and labels (B, K) mixed pairwise, with a share from Beta(beta, beta) for each pair.

    With ``preserve_order`` the share of the first is at least one half.
    """
    share = torch.distributions.Beta(beta, beta).sample((len(x1), 1)).to(x1.device)
    if preserve_order:
        share = torch.maximum(share, 1 - share)
    of_images = share[:, :, None, None]
    return x1 * of_images + x2 * (1 - of_images), y1 * share + y2 * (1 - share)
