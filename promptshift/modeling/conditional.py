"""Contexts that are generated: from the image (CoCoOp, arXiv 2203.05557), from the class (TCP, arXiv 2311.18231)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.prompts import PromptLearner


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of the Gaussian error linear unit."""
    return x * torch.sigmoid(1.702 * x)


class MetaNet(nn.Module):
    """Two linear layers with a bottleneck: a feature (N, E) -> (N, outputs), saved as linear1 and linear2."""

    def __init__(self, embed_dim: int, bottleneck: int, outputs: int, activation: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, bottleneck)
        self.linear2 = nn.Linear(bottleneck, outputs)
        self.activation = activation

    def forward(self, features: Tensor) -> Tensor:
        return self.linear2(self.activation(self.linear1(features)))


class ConditionalPromptLearner(PromptLearner):
    """Context vectors shared by all classes, shifted by a network of the image; saved as ctx, meta_net.linear{1,2}."""

    def __init__(self, clip: FrozenCLIP, classnames: list[str], n_ctx: int, ctx_init: str, max_tokens: int):
        super().__init__(clip, classnames, n_ctx, ctx_init, max_tokens=max_tokens)
        self.meta_net = MetaNet(clip.embed_dim, clip.embed_dim // 16, clip.text_width)

    def forward(self, features: Tensor, normalize: bool = True) -> Tensor:
        """Normalised image features (B, E) -> class features of each image (B, K, E), L2-normalised unless told not."""
        shift = self.meta_net(features).unsqueeze(1)  # (B, 1, D)
        return self.template.features_each(self.ctx + shift, normalize=normalize)  # contexts (B, M, D)


class ClassAwarePromptLearner(PromptLearner):
    """Context vectors shared by all classes, which vectors made of each class's own feature replace at one block.

    P_k = meta_net(feature_k), M vectors, take the place of what the shared context has become at the block's input
    (TCP, arXiv 2311.18231, section 3.2). Saved as ctx, meta_net.linear{1,2}.

    Args:
        clip: the frozen model.
        classnames: K class names.
        features: (K, E) of the classes under fixed texts, L2-normalised.
        n_ctx: M; ignored when words are given.
        ctx_init, rest, max_tokens: as for `PromptLearner`.
        block: from 0; at most the text tower's last.
        key: name of the configuration's key that says the block, for the error message.

    Raises:
        UserError: there is no such block.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: list[str],
        features: Tensor,
        n_ctx: int,
        ctx_init: str,
        rest: str,
        block: int,
        max_tokens: int,
        key: str,
    ):
        super().__init__(clip, classnames, n_ctx, ctx_init, rest=rest, max_tokens=max_tokens)
        blocks = len(self.template.tower.blocks)
        if not 0 <= block < blocks:
            raise UserError(
                f"{key}: {block}; allowed: 0 to {blocks - 1}, the blocks of the text tower of '{clip.name}'"
            )
        self.block, self.fixed_features = block, features
        self.meta_net = MetaNet(clip.embed_dim, clip.embed_dim // 4, self.ctx.numel(), quick_gelu)

    def class_prompts(self) -> Tensor:
        """-> (K, M, D)."""
        return self.meta_net(self.fixed_features).unflatten(1, self.ctx.shape)

    def features(self, normalize: bool = True) -> Tensor:
        return self.template.features(self.ctx, {self.block: self.class_prompts()}, normalize)
