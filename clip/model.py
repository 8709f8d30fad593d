"""CLIP in OpenAI's calling conventions, with the prompts that MaPLe's public repository builds into its towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import convert_weights_to_lp
from torch import Tensor, nn

from promptshift.modeling.backbones.weights import _NOT_WEIGHTS, architecture
from promptshift.modeling.clip import build_clip
from promptshift.modeling.towers.vision_tower import VisionTower


class Transformer(nn.Module):
    """The blocks of a tower on sequences (L, N, D), length first as in OpenAI's code.

    Called with a tensor it returns a tensor; with a list [x, deep prompts, number already used], as MaPLe's text
    encoder calls it, it returns the list after the last block. Before each block but the first a prompt (n, D) may
    replace n tokens: the block's own `VPT_shallow` where it has one, else the next of the deep prompts; more prompts
    than blocks stay unused. In a text tower (with a mask) these are the tokens behind SOS, in a vision tower the last.

    Shapes: L tokens, N sequences, D width, n prompts.

    Args:
        blocks: open_clip's residual blocks, which take (N, L, D).
        width: D.
        mask: (L, L) additive attention mask of a text tower.
    """

    def __init__(self, blocks: nn.Module, width: int, mask: Tensor | None = None):
        super().__init__()
        self.width, self.layers, self.resblocks = width, len(blocks), blocks
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, inputs: Tensor | list) -> Tensor | list:
        x, deep, used = (inputs, (), 0) if isinstance(inputs, Tensor) else inputs
        x = x.transpose(0, 1)  # (L, N, D) -> (N, L, D)
        mask = None if self.attn_mask is None else self.attn_mask[: x.shape[1], : x.shape[1]]
        for i, block in enumerate(self.resblocks):
            prompt = getattr(block, "VPT_shallow", None)
            if prompt is None and i > 0 and used < len(deep):
                prompt, used = deep[used], used + 1
            x = block(x if prompt is None else self._replace(x, prompt), attn_mask=mask)
        x = x.transpose(0, 1)  # (N, L, D) -> (L, N, D)
        return x if isinstance(inputs, Tensor) else [x, deep, used]

    def _replace(self, x: Tensor, prompt: Tensor) -> Tensor:
        start = 1 if self.attn_mask is not None else x.shape[1] - len(prompt)
        prompt = prompt.to(x.dtype).expand(x.shape[0], -1, -1)  # (n, D) -> (N, n, D)
        return torch.cat([x[:, :start], prompt, x[:, start + prompt.shape[1] :]], dim=1)


class VisionTransformer(open_clip.transformer.VisionTransformer):
    """open_clip's vision transformer, taken over as it was built, called as MaPLe's repository calls it."""

    def __init__(self, built: open_clip.transformer.VisionTransformer):
        self.__dict__.update(built.__dict__)  # its parts under their names; `built` is not used any more
        self.transformer = Transformer(built.transformer.resblocks, built.transformer.width)

    def forward(
        self, image: Tensor, shared_ctx: Tensor | None = None, compound_deeper_prompts: Sequence[Tensor] = ()
    ) -> Tensor:
        """Images (B, 3, S, S) -> features (B, E), not normalised.

        Args:
            image: normalised images.
            shared_ctx: (n, W) prompts behind the patches; the tower's own `VPT` where it has that, when None.
            compound_deeper_prompts: (n, W) each, for blocks 1, 2, ...; the blocks' own `VPT_shallow` when empty.
        """
        blocks = self.transformer.resblocks
        if shared_ctx is None:
            shared_ctx = getattr(self, "VPT", None)
        deep = list(compound_deeper_prompts) or [block.VPT_shallow for block in blocks if hasattr(block, "VPT_shallow")]
        handle = SimpleNamespace(model=SimpleNamespace(visual=self), dtype=self.conv1.weight.dtype, name="clip")
        return VisionTower(handle, "clip").encode(image, shared_ctx, deep[: len(blocks) - 1]).to(handle.dtype)


class CLIP(nn.Module):
    """OpenAI's CLIP: attributes, parameter names and methods.

    Shapes: B images, N texts, L tokens, D text width, E embedding.

    Args:
        model: what open_clip built; its parts are taken over.
    """

    def __init__(self, model: open_clip.model.CLIP):
        super().__init__()
        size, embedding = model.visual.image_size, model.text_projection.shape[1]
        vit = isinstance(model.visual, open_clip.transformer.VisionTransformer)
        self.visual = VisionTransformer(model.visual) if vit else model.visual
        self.visual.input_resolution = size[0] if isinstance(size, (tuple, list)) else size
        self.visual.output_dim = embedding
        self.transformer = Transformer(model.transformer.resblocks, model.transformer.width, model.attn_mask)
        self.token_embedding, self.positional_embedding = model.token_embedding, model.positional_embedding
        self.ln_final, self.text_projection, self.logit_scale = model.ln_final, model.text_projection, model.logit_scale
        self.context_length, self.vocab_size = model.context_length, model.vocab_size
        self._before_rounding: dict[str, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype of both towers."""
        return self.visual.conv1.weight.dtype

    def float(self) -> CLIP:
        """Back to float32. Weights that a file holds in float32 get back what `build_model` rounded off."""
        super().float()
        for name, value in self._before_rounding.items():
            weight = self.get_parameter(name)
            if torch.equal(weight.cpu(), value.half().float()):  # not trained since
                weight.data.copy_(value)
        self._before_rounding = {}
        return self

    def encode_image(self, image: Tensor) -> Tensor:
        """Images (B, 3, S, S), normalised -> features (B, E), not normalised."""
        return self.visual(image.type(self.dtype))

    def encode_text(self, text: Tensor) -> Tensor:
        """Token ids (N, L) of `tokenize` -> features (N, E), not normalised."""
        x = self.token_embedding(text).type(self.dtype)  # (N, L, D)
        x = x + self.positional_embedding[: text.shape[1]].type(self.dtype)
        x = self.ln_final(self.transformer(x.transpose(0, 1)).transpose(0, 1))
        return x[torch.arange(len(x), device=x.device), text.argmax(dim=-1)] @ self.text_projection

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Images and token ids -> logits per image (B, N) and per text (N, B)."""
        images, texts = (F.normalize(x, dim=-1) for x in (self.encode_image(image), self.encode_text(text)))
        logits = self.logit_scale.exp() * images @ texts.t()
        return logits, logits.t()


def convert_weights(model: nn.Module) -> None:
    """Rounds the weights that OpenAI keeps in float16, in place: convolutions, linear maps, attention, projections."""
    convert_weights_to_lp(model, torch.float16)
    if isinstance(model, CLIP):
        model.text_projection.data = model.text_projection.data.half()


def build_model(
    state_dict: Mapping[str, Tensor], design_details: Mapping | None = None, *, sizes: Mapping | None = None
) -> CLIP:
    """A CLIP in eval mode from a state dict in OpenAI's layout; sizes are read off the weights.

    Weights are float16 as upstream's; `.float()` gives back the exact values of a float32 file.

    Args:
        state_dict: e.g. of OpenAI's archive, with or without its three size entries.
        design_details: MaPLe's repository: `vision_depth` and `language_depth` layers get `vision_ctx` and
            `language_ctx` prompts of their own, N(0, 0.02^2), found by "VPT" in their names (IVLP, VPT, PromptSRC;
            0 for MaPLe and CoOp, whose prompts are arguments). Its `trainer` and `maple_length` need no attention.
        sizes: of the model and its activation, as `read_clip` returns them; OpenAI's QuickGELU and 64 channels a head
            when None.
    """
    state = {key: value for key, value in state_dict.items() if key not in _NOT_WEIGHTS}
    sizes = dict(sizes or architecture(state))
    # float16: layer norms that compute in float32 whatever comes in
    model = CLIP(build_clip(state, sizes, sizes.get("quick_gelu", True), dtype=torch.float16))
    exact = {name: weight.data for name, weight in model.named_parameters()}
    convert_weights(model)
    model._before_rounding = {
        name: exact[name] for name, weight in model.named_parameters() if not torch.equal(weight.float(), exact[name])
    }
    if design_details:
        _add_prompts(model, design_details)
    return model.eval()


def _add_prompts(model: CLIP, design: Mapping) -> None:
    depth = design["vision_depth"]
    if depth > 0:
        model.visual.VPT = _prompt(design["vision_ctx"], model.visual.transformer.width)
        _add_deep_prompts(model.visual.transformer, depth, design["vision_ctx"])
    _add_deep_prompts(model.transformer, design["language_depth"], design["language_ctx"])


def _add_deep_prompts(transformer: Transformer, depth: int, n: int) -> None:
    for block in transformer.resblocks[1 : max(depth, 1)]:
        block.VPT_shallow = _prompt(n, transformer.width)


def _prompt(n: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(n, width).normal_(std=0.02))
