"""Rectified Adam (arXiv 1908.03265) and AdamW (arXiv 1711.05101), torch's own, where upstream has them."""

from torch.optim import AdamW, RAdam

__all__ = ["AdamW", "RAdam"]
