"""The last two steps of a tower, layer norm and projection of pooled tokens, in float32 whatever the precision.

Losses at test time look at small differences of features; features that are rounded once more to half precision lose
a good part of these. There are few pooled tokens, so float32 costs nothing here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Tokens (..., W) in any dtype -> normalised (..., W), float32, under autocast too."""
    with torch.autocast(x.device.type, enabled=False):
        return norm(x.to(norm.weight.dtype)).float()


def project_features(x: Tensor, projection: Tensor | nn.Linear | None) -> Tensor:
    """Tokens (..., W) -> features (..., E), float32, under autocast too.

    Args:
        projection: (W, E), a linear layer, or None for E = W.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        if projection is None:
            return x
        if not isinstance(projection, nn.Linear):
            return x @ projection.float()
        bias = None if projection.bias is None else projection.bias.float()
        return F.linear(x, projection.weight.float(), bias)
