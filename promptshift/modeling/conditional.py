"""A context that depends on the image (CoCoOp, arXiv 2203.05557)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.prompts import PromptLearner


class MetaNet(nn.Module):
    """Two linear layers with a bottleneck of a sixteenth: image feature (B, E) -> context shift (B, D)."""

    def __init__(self, embed_dim: int, text_width: int):
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, embed_dim // 16)
        self.linear2 = nn.Linear(embed_dim // 16, text_width)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear2(F.relu(self.linear1(features)))


class ConditionalPromptLearner(PromptLearner):
    """Context vectors shared by all classes, shifted by a network of the image; saved as ctx, meta_net.linear{1,2}."""

    def __init__(self, clip: FrozenCLIP, classnames: list[str], n_ctx: int, ctx_init: str, max_tokens: int):
        super().__init__(clip, classnames, n_ctx, ctx_init, max_tokens=max_tokens)
        self.meta_net = MetaNet(clip.embed_dim, clip.text_width)

    def forward(self, features: Tensor) -> Tensor:
        """Normalised image features (B, E) -> class features of each image (B, K, E), L2-normalised."""
        shift = self.meta_net(features).unsqueeze(1)  # (B, 1, D)
        return self.template.features_each(self.ctx + shift)  # contexts (B, M, D)
