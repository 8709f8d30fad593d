"""Loading a frozen CLIP through open_clip."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dassl.utils.errors import UserError, shorten, suggest
from promptshift.modeling import allowed
from promptshift.modeling.backbones.architectures import OPENAI_NAMES, complete, known_name
from promptshift.modeling.backbones.embedded import EMBEDDED
from promptshift.modeling.backbones.open_clip_models import build_model, build_tokenizer, find_model
from promptshift.modeling.backbones.sources import openai_file
from promptshift.modeling.backbones.weights import architecture, is_finite, read_state_dict

if TYPE_CHECKING:
    from open_clip.model import CLIP

# open_clip takes a second to import, with torchvision: only the functions that use it do.
PRECISIONS = {name: getattr(torch, dtype) for name, dtype in allowed.PRECISIONS.items()}
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training images (arXiv 2103.00020, released preprocessing)
STD = (0.26862954, 0.26130258, 0.27577711)


class FrozenCLIP:
    """A CLIP whose weights never change, with its tokenizer and the facts read off its weights.

    Not an nn.Module on purpose: a trainer that holds one does not save it, move it or train it by accident.

    Shapes: B images, E embedding, L tokens, D text width.

    Attributes:
        model: the open_clip model, in eval mode, no parameter requires grad.
        name: the name it was asked by.
        dtype: compute dtype of both towers (fp32 for precision `fp32` and `amp`).
        image_size: side of the square input in pixels.
        mean, std: normalisation of the input, per RGB channel.

    A model trained with a sigmoid (SigLIP) also has a bias of its logits. It is the same for all classes, so no
    softmax, cross-entropy or order of classes sees it, and it is left out.
    """

    def __init__(self, model: nn.Module, tokenizer, name: str, precision: str, mean=MEAN, std=STD):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.precision = precision
        self.dtype = PRECISIONS[precision]
        self.mean, self.std = tuple(mean), tuple(std)
        size = model.visual.image_size
        self.image_size = size[0] if isinstance(size, (tuple, list)) else size

    @property
    def text(self) -> nn.Module:
        """The module that owns the text tower's parts (the CLIP itself in OpenAI's layout)."""
        return getattr(self.model, "text", self.model)

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    @property
    def text_width(self) -> int:
        return self.text.token_embedding.weight.shape[1]

    @cached_property
    def embed_dim(self) -> int:
        projection = self.text.text_projection
        if projection is None:
            return self.text_width
        return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]

    @property
    def logit_scale(self) -> Tensor:
        """exp(logit_scale), the inverse temperature of the cosine logits (scalar, float32)."""
        return self.model.logit_scale.float().exp().reshape(())

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), normalised -> features (B, E), not L2-normalised, in the compute dtype."""
        features = self.model.visual(images.to(self.dtype))
        return features[0] if isinstance(features, tuple) else features  # CoCa's tower also returns its tokens

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) -> token embeddings (N, L, D) without positions, in the compute dtype."""
        with torch.no_grad():
            return self.text.token_embedding(tokens.to(self.device)).to(self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any weight or the precision; keys of feature caches hold it."""
        digest = hashlib.blake2b(self.precision.encode(), digest_size=8)
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        return (
            f"CLIP {self.name}: image {self.image_size} px, embedding {self.embed_dim}, text width "
            f"{self.text_width}, precision {self.precision}, weights {self.fingerprint}"
        )


def load_clip(
    name: str, path: str = "", precision: str = "fp32", device: str | torch.device = "cpu", cache_dir: str | None = None
) -> FrozenCLIP:
    """Loads a frozen CLIP.

    Args:
        name: an OpenAI name (`RN50`, `RN101`, `ViT-B/32`, `ViT-B/16`, `ViT-L/14`, `ViT-L/14@336px`), `mini` or
            `mini_large` (the embedded ones), an open_clip `model:pretrained` pair, `hf-hub:ORG/NAME` or
            `local-dir:FOLDER`.
        path: local weights, a file or the folder that holds it, in any layout of `layouts`. Sizes are read off them: a
            file of a published CLIP is refused under another one's name, any other runs under the name given. With a
            `model:pretrained` name the file is loaded into that open_clip model.
        precision: `fp32`, `fp16`, `bf16`, or `amp` (weights in fp32, autocast is the caller's).
        device: where the model lives.
        cache_dir: where open_clip keeps downloads (default: its own).

    Raises:
        UserError: unknown name or precision, unreadable weights, weights of another model, QuickGELU mismatch, weights
            not reachable.
    """
    if precision not in PRECISIONS:
        raise UserError(f"PREC: unknown precision '{precision}'; allowed: {', '.join(PRECISIONS)}")
    if ":" in name:
        return _named(name, path, precision, device, cache_dir)
    if name in EMBEDDED and not path:
        state, sizes = EMBEDDED[name](name)
        return _build(state, sizes, name, precision, device, sizes["mean"], sizes["std"])
    known = [*OPENAI_NAMES, *EMBEDDED]
    if name not in known:
        raise UserError(
            f"MODEL.BACKBONE.NAME: unknown backbone '{name}'; allowed: {', '.join(known)}, "
            f"an open_clip 'model:pretrained' pair, 'hf-hub:ORG/NAME' or 'local-dir:FOLDER'{suggest(name, known)}"
        )
    state, sizes = read_clip(path or openai_file(name, cache_dir))
    _refuse_other_name(name, sizes, path)
    return _build(state, sizes, name, precision, device)


def _refuse_other_name(name: str, sizes: dict, path: str) -> None:
    found = known_name(sizes)
    if found in ("", name):
        return
    use = f"'{found}'" if found in OPENAI_NAMES else f"'{found}:WORD', with any word behind the colon"
    raise UserError(
        f"MODEL.BACKBONE.NAME: '{name}' contradicts MODEL.BACKBONE.PATH {shorten(path, 400)}, which holds a {found}; "
        f"use {use}"
    )


def read_clip(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read the weights of a CLIP, in OpenAI's layout, and its sizes (keys as `weights.architecture`, and `quick_gelu`).

    Raises:
        UserError: As `weights.read_state_dict`, or the tensors do not fit each other; the file and a tensor are named.
    """
    state = read_state_dict(path)
    try:
        sizes = complete(architecture(state), path)
        _refuse_misfit(state, sizes)
    except UserError as error:
        raise UserError(
            f"MODEL.BACKBONE.PATH: the weights of {shorten(path, 400)} do not form a CLIP: {error}"
        ) from None
    return state, sizes


def _refuse_misfit(state: dict[str, Tensor], sizes: dict) -> None:
    """Compare names and shapes with those of a CLIP of the given sizes, of which no number is made."""
    try:
        with torch.device("meta"):
            expected = {name: tuple(value.shape) for name, value in empty_clip(sizes).state_dict().items()}
    except RuntimeError as error:  # sizes whose product no integer holds
        raise UserError(f"sizes {sizes}: {shorten(error)}") from None
    for name in sorted(expected.keys() | state.keys()):
        if name not in state:
            raise UserError(f"the tensor {name} is missing")
        if name not in expected:
            raise UserError(f"the tensor {shorten(name)} belongs to no CLIP")
        shape = tuple(state[name].shape)
        if shape != expected[name]:
            raise UserError(f"{name} has the shape {shape}; {expected[name]} fits the other tensors")


def empty_clip(sizes: dict, quick_gelu: bool = True, dtype=torch.float32) -> CLIP:
    """An open_clip CLIP of the given sizes (keys as `weights.architecture` returns them), randomly initialised."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    mlp = {t: (sizes.get(f"{t}_mlp", 4 * sizes[f"{t}_width"]) + 0.5) / sizes[f"{t}_width"] for t in ("vision", "text")}
    vision = CLIPVisionCfg(
        layers=sizes["vision_layers"],
        width=sizes["vision_width"],
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"] or 16,  # ignored by ResNets
        head_width=sizes["vision_width"] // sizes["vision_heads"] if sizes["patch_size"] else 64,
        mlp_ratio=mlp["vision"],  # half a channel too much, which open_clip rounds down
    )
    text = CLIPTextCfg(
        context_length=sizes["context_length"],
        vocab_size=sizes["vocab_size"],
        width=sizes["text_width"],
        heads=sizes["text_heads"],
        layers=sizes["text_layers"],
        mlp_ratio=mlp["text"],
    )
    return CLIP(sizes["embed_dim"], vision, text, quick_gelu=quick_gelu, cast_dtype=dtype)


def build_clip(state: dict[str, Tensor], sizes: dict, quick_gelu: bool = True, dtype=torch.float32) -> CLIP:
    """Builds an open_clip CLIP of the given sizes and loads an OpenAI-format state dict in the dtype asked for.

    open_clip's own loader of such dicts rounds through fp16 (features then differ by 1e-3), hence this one.
    """
    model = empty_clip(sizes, quick_gelu, dtype)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model


def _build(state, sizes, name, precision, device, mean=MEAN, std=STD) -> FrozenCLIP:
    from open_clip import get_tokenizer
    from open_clip.model import convert_weights_to_lp

    dtype = PRECISIONS[precision]
    try:
        model = build_clip(state, sizes, sizes.get("quick_gelu", True), dtype)
    except (RuntimeError, KeyError) as error:
        raise UserError(f"backbone '{name}': the weights do not form a CLIP ({shorten(error)})") from error
    if dtype != torch.float32:
        convert_weights_to_lp(model, dtype)
        _refuse_non_finite(model, name, precision)
    return FrozenCLIP(model.to(device), get_tokenizer("ViT-B-32"), name, precision, mean, std)


def _refuse_non_finite(model: nn.Module, name: str, precision: str) -> None:
    """Refuse a model with numbers that are NaN or that the precision cannot hold."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not is_finite(value):
            raise UserError(f"backbone '{name}': {key} holds numbers that are not finite in precision {precision}")


def _named(name: str, path: str, precision: str, device, cache_dir: str | None) -> FrozenCLIP:
    """A model of open_clip's, or the CLIP that transformers saved where a name with a colon leads to one."""
    wanted = find_model(name, path, cache_dir)
    if not wanted.config:
        return _build(*read_clip(wanted.weights), name, precision, device)
    tokenizer = build_tokenizer(name, wanted, cache_dir)
    model = build_model(name, wanted, PRECISIONS[precision])
    _refuse_non_finite(model, name, precision)
    mean, std = wanted.preprocess.get("mean") or MEAN, wanted.preprocess.get("std") or STD
    return FrozenCLIP(model.to(device), tokenizer, name, precision, mean, std)
