"""Pure functions that two or more papers share."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of rows whose largest logit is the label, in percent (scalar)."""
    return (logits.argmax(dim=1) == labels).float().mean() * 100


def negative_label_loss(logits: Tensor, labels: Tensor, pos_weight: float) -> Tensor:
    """Binary cross-entropy that wants high logits on every wrong class and a low one on the label.

    DPSPG (arXiv 2505.18770), loss of the negative prompt label; mean over B x K.

    Args:
        logits: (B, K) scaled cosines under the negative prompt.
        labels: (B,).
        pos_weight: weight of the wrong-class terms (the released code uses K - 1).
    """
    wrong = 1 - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wrong, pos_weight=logits.new_tensor(float(pos_weight)))
