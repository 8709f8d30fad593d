"""The layouts that CLIP state dicts come in, brought to OpenAI's names and orientations.

What comes in: OpenAI's own names; open_clip's models with a text tower of their own (`text.*`); Hugging Face
transformers' `CLIPModel` (`text_model.*`, `vision_model.*`, queries, keys and values apart, projections as linear
layers); each also behind a prefix of a wrapper (`model.`, `module.`, `clip_model.`).
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from dassl.utils.errors import UserError, shorten

_TOKENS = "token_embedding.weight"
_HF_TOKENS = f"text_model.embeddings.{_TOKENS}"
_ANCHORS = (_HF_TOKENS, f"text.{_TOKENS}", _TOKENS)  # the longest that fits tells the layout

_HF_NAMES = {
    _HF_TOKENS: _TOKENS,
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "logit_scale": "logit_scale",
}
_HF_NORMS = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # spelt so in the published files
    "vision_model.post_layernorm": "visual.ln_post",
}
_HF_NAMES |= {f"{hf}.{end}": f"{ours}.{end}" for hf, ours in _HF_NORMS.items() for end in ("weight", "bias")}
_HF_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_HF_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
_HF_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_HF_LAYER = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_HF_POSITIONS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")  # 0, 1, 2, ...


def without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefix that a wrapper put before the names of the CLIP it holds.

    Names that do not start with it stay as they are, so that what is no part of a CLIP is named when it is refused.
    """
    found = _anchor(state)
    if found is None or not found[0]:
        return state
    return {name.removeprefix(found[0]): value for name, value in state.items()}


def is_hugging_face(state: dict[str, Tensor]) -> bool:
    """Tell whether a state dict without prefix has the names of Hugging Face transformers' CLIP."""
    return _HF_TOKENS in state


def from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a transformers `CLIPModel` in OpenAI's layout.

    Other names than a `CLIPModel` has stay as they are; whoever loads the result refuses them by name.

    Raises:
        UserError: A query, key or value is there without the two others, or is no matrix or vector of their shape.
    """
    result, attention = {}, {}
    for name, value in state.items():
        layer = _HF_LAYER.fullmatch(name)
        if name in _HF_POSITIONS:
            continue
        if name in _HF_TRANSPOSED:
            result[_HF_TRANSPOSED[name]] = value.t().contiguous() if value.ndim == 2 else value
        elif layer and layer[3] in _HF_PARTS:
            result[f"{_HF_TOWERS[layer[1]]}.resblocks.{layer[2]}.{_HF_PARTS[layer[3]]}.{layer[4]}"] = value
        elif layer and layer[3] in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            joined = f"{_HF_TOWERS[layer[1]]}.resblocks.{layer[2]}.attn.in_proj_{layer[4]}"
            attention.setdefault(joined, {})[layer[3][-6]] = (name, value)
        else:
            result[_HF_NAMES.get(name, name)] = value
    return result | {name: _join(parts) for name, parts in attention.items()}


def to_openai(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a CLIP state dict of any layout above in OpenAI's.

    Raises:
        UserError: As `from_hugging_face`.
    """
    state = without_prefix(state)
    if is_hugging_face(state):
        return from_hugging_face(state)
    if f"text.{_TOKENS}" in state:
        return {name.removeprefix("text."): value for name, value in state.items()}
    return state


def _anchor(state: dict[str, Tensor]) -> tuple[str, str] | None:
    """Prefix and the anchor behind it, of the shortest such name."""
    for anchor in _ANCHORS:
        names = [name for name in state if name == anchor or name.endswith(f".{anchor}")]
        if names:
            return min(names, key=len).removesuffix(anchor), anchor
    return None


def _join(parts: dict[str, tuple[str, Tensor]]) -> Tensor:
    """Queries, keys and values, (W, W) or (W,) each -> (3 W, W) or (3 W,)."""
    name, first = next(iter(parts.values()))
    missing = [letter for letter in "qkv" if letter not in parts]
    if missing:
        other = re.sub(r"[qkv]_proj", f"{missing[0]}_proj", name)
        raise UserError(f"the tensor {shorten(other)} is missing beside {shorten(name)}")
    for other, value in parts.values():
        if value.shape != first.shape or value.dtype != first.dtype:
            raise UserError(
                f"{shorten(other)} is {value.dtype} {tuple(value.shape)}, {shorten(name)} is {first.dtype} "
                f"{tuple(first.shape)}; queries, keys and values of a block are alike"
            )
    return torch.cat([parts[letter][1] for letter in "qkv"])
