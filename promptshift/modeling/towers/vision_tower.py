"""CLIP's frozen vision transformer, run on images together with prompt tokens, and the prompts themselves.

CLIP is never edited: prompts are arguments. tests/promptshift/modeling/towers/test_vision_tower.py holds the tower
without prompts equal to CLIP's own image encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.towers.blocks import is_plain, run_block
from promptshift.modeling.towers.projection import layer_norm, project_features


class VisionTower:
    """Images and prompt tokens in, image features out.

    Sequence: [CLS, patches, prompts]. Shallow prompts join after the positional embedding and before ln_pre, so they
    have no position of their own; deep prompts replace what the previous block made of the prompt tokens (VPT, arXiv
    2203.12119; the order of tokens is that of the released MaPLe, arXiv 2210.03117).

    Shapes: B images, S image side, L = 1 + patches tokens, n prompts, W vision width, E embedding.

    Args:
        clip: the frozen model.
        method: name of the trainer that asks, for the error message.

    Raises:
        UserError: the backbone's image tower is no vision transformer that pools at its class token.
    """

    def __init__(self, clip: FrozenCLIP, method: str):
        from open_clip.transformer import VisionTransformer  # takes a second to import; here the CLIP has loaded it

        visual = clip.model.visual
        if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None or visual.pool_type != "tok":
            raise UserError(
                f"MODEL.BACKBONE.NAME: {method} puts prompts among the tokens of a vision transformer with "
                f"a class token, '{clip.name}' has none; allowed: mini, ViT-B/32, ViT-B/16, ViT-L/14, ..."
            )
        self.clip, self.visual = clip, visual
        self.blocks = list(visual.transformer.resblocks)

    @property
    def width(self) -> int:
        return self.visual.class_embedding.shape[0]

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def encode(self, images: Tensor, prompts: Tensor | None = None, deep: Sequence[Tensor] = ()) -> Tensor:
        """Runs the tower.

        Args:
            images: (B, 3, S, S), normalised.
            prompts: (n, W) for all images, or (B, n, W); None for none.
            deep: for block i = 1.. what replaces the n prompt tokens at its input, (n, W) or (B, n, W) each.

        Returns:
            (B, E) features, not L2-normalised, float32.
        """
        return self._run(images, prompts, deep, None)

    def encode_with_tokens(
        self, images: Tensor, prompts: Tensor | None = None, deep: Sequence[Tensor] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """As `encode`; also -> every block's input tokens, a list of (B, L + n, W), prompts included."""
        seen: list[Tensor] = []
        return self._run(images, prompts, deep, seen), seen

    def _run(self, images: Tensor, prompts: Tensor | None, deep: Sequence[Tensor], seen: list | None) -> Tensor:
        if deep and (prompts is None or len(deep) >= self.layers):
            raise ValueError(f"{len(deep)} deep prompts for {self.layers} blocks need shallow ones to replace")
        x = self._embed(images, prompts)
        for i, block in enumerate(self.blocks):
            if 0 < i <= len(deep):
                prompt = _per_image(deep[i - 1], x)
                x = torch.cat([x[:, : -prompt.shape[1]], prompt], dim=1)
            if seen is not None:
                seen.append(x)
            x = _run(block, x, only_class_token=i == self.layers - 1)
        return self._pool(x)

    def _embed(self, images: Tensor, prompts: Tensor | None) -> Tensor:
        v = self.visual
        x = v.conv1(images.to(self.clip.dtype)).flatten(2).transpose(1, 2)  # (B, L - 1, W)
        x = x.to(self.clip.dtype)  # autocast's convolution rounds; the sums of the blocks then stay in float32
        x = torch.cat([_per_image(v.class_embedding.unsqueeze(0), x), x], dim=1)
        x = x + v.positional_embedding.to(x.dtype)
        if prompts is not None:
            x = torch.cat([x, _per_image(prompts, x)], dim=1)  # (B, L + n, W)
        return v.ln_pre(x)

    def _pool(self, x: Tensor) -> Tensor:
        pooled = layer_norm(x[:, 0], self.visual.ln_post)  # per token, so only the pooled one needs it
        return project_features(pooled, self.visual.proj)


def _per_image(prompts: Tensor, x: Tensor) -> Tensor:
    return prompts.to(x.dtype).expand(x.shape[0], -1, -1)  # (n, W) or (B, n, W) -> (B, n, W)


def _run(block: nn.Module, x: Tensor, only_class_token: bool) -> Tensor:
    """A block's output (B, L, W); at the class token alone (B, 1, W) where nothing reads the others."""
    if is_plain(block):
        return run_block(block, x, rows=slice(0, 1) if only_class_token else None)
    return block(x)[:, :1] if only_class_token else block(x)


class DeepPrompts(nn.Module):
    """Learnable prompts of the blocks behind a transformer's first one, N(0, 0.02^2).

    Saved as `transformer.resblocks.<i>.VPT_shallow` (n, width), i = 1 .. depth - 1: the names of the released IVLP.
    """

    def __init__(self, n: int, width: int, depth: int):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleDict({str(i): nn.Module() for i in range(1, depth)})
        for block in self.transformer.resblocks.values():
            block.VPT_shallow = random_prompt(n, width)


class VisionPrompts(DeepPrompts):
    """Learnable prompts of the vision tower, N(0, 0.02^2), under the parameter names of the released VPT and IVLP.

    `VPT` (n, W) are the shallow prompts, `transformer.resblocks.<i>.VPT_shallow` (n, W) those of block i = 1...

    Args:
        tower: the tower they are for.
        n: prompts per layer, at least 1.
        depth: number of layers with prompts of their own: 1 for shallow prompts alone, at most `tower.layers`.
        key: name of the configuration's block, for error messages.

    Raises:
        UserError: n or depth out of range.
    """

    def __init__(self, tower: VisionTower, n: int, depth: int, key: str):
        check_count(f"TRAINER.{key}.N_CTX_VISION", n)
        check_depth(f"TRAINER.{key}.PROMPT_DEPTH_VISION", depth, tower.layers, tower.clip.name)
        super().__init__(n, tower.width, depth)
        self.VPT = random_prompt(n, tower.width)


def random_prompt(n: int, width: int) -> nn.Parameter:
    """n vectors (n, width) drawn from N(0, 0.02^2) on the CPU: the same on every device."""
    return nn.Parameter(torch.empty(n, width).normal_(std=0.02))


def check_count(key: str, n: int) -> None:
    """Raises UserError unless n is a number of prompts."""
    if n < 1:
        raise UserError(f"{key}: {n} is not a number of prompts; allowed: 1 and more")


def check_depth(key: str, depth: int, layers: int, backbone: str) -> None:
    """Raises UserError unless 1 <= depth <= layers."""
    if not 1 <= depth <= layers:
        raise UserError(f"{key}: {depth}; allowed: 1 to {layers}, the layers of '{backbone}'")
