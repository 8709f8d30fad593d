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
from promptshift.modeling.embedded import EMBEDDED
from promptshift.modeling.weights import architecture, is_finite, read_state_dict, read_tensors

if TYPE_CHECKING:
    from open_clip.model import CLIP

# open_clip takes a second to import, with torchvision: only the functions that use it do.
# OpenAI's name -> open_clip's
OPENAI_NAMES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
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
        return self.model.logit_scale.float().exp()

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), normalised -> features (B, E), not L2-normalised, in the compute dtype."""
        return self.model.visual(images.to(self.dtype))

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
            `mini_large` (the embedded ones), or any open_clip `model:pretrained` pair.
        path: local weights in OpenAI's layout (TorchScript archive, state dict or safetensors); sizes are read off
            them, whatever the name. With a `model:pretrained` name the file is loaded into that open_clip model.
        precision: `fp32`, `fp16`, `bf16`, or `amp` (weights in fp32, autocast is the caller's).
        device: where the model lives.
        cache_dir: where open_clip keeps downloads (default: its own).

    Raises:
        UserError: unknown name or precision, unreadable weights, QuickGELU mismatch, weights not reachable.
    """
    if precision not in PRECISIONS:
        raise UserError(f"PREC: unknown precision '{precision}'; allowed: {', '.join(PRECISIONS)}")
    if ":" in name:
        return _load_open_clip(name, path, precision, device, cache_dir)
    if name in EMBEDDED and not path:
        state, sizes = EMBEDDED[name](name)
        return _build(state, sizes, name, precision, device, sizes["mean"], sizes["std"])
    known = [*OPENAI_NAMES, *EMBEDDED]
    if name not in known:
        raise UserError(
            f"MODEL.BACKBONE.NAME: unknown backbone '{name}'; allowed: {', '.join(known)}, "
            f"or an open_clip 'model:pretrained' pair{suggest(name, known)}"
        )
    return _build(*read_clip(path or _openai_file(name, cache_dir)), name, precision, device)


def read_clip(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read the weights of a CLIP in OpenAI's layout and the sizes they imply (keys as `weights.architecture`).

    Raises:
        UserError: As `weights.read_state_dict`, or the tensors do not fit each other; the file and a tensor are named.
    """
    state = read_state_dict(path)
    try:
        sizes = architecture(state)
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

    vision = CLIPVisionCfg(
        layers=sizes["vision_layers"],
        width=sizes["vision_width"],
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"] or 16,  # ignored by ResNets
        head_width=sizes["vision_width"] // sizes["vision_heads"] if sizes["patch_size"] else 64,
    )
    text = CLIPTextCfg(
        context_length=sizes["context_length"],
        vocab_size=sizes["vocab_size"],
        width=sizes["text_width"],
        heads=sizes["text_heads"],
        layers=sizes["text_layers"],
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
        model = build_clip(state, sizes, dtype=dtype)
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


def _openai_file(name: str, cache_dir: str | None) -> Path:
    """OpenAI's weights: the file their own package would have cached, else open_clip's download."""
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    cached = Path("~/.cache/clip").expanduser() / f"{name.replace('/', '-')}.pt"
    if cached.is_file():
        return cached
    try:
        return Path(download_pretrained(get_pretrained_cfg(OPENAI_NAMES[name], "openai"), cache_dir=cache_dir))
    except Exception as error:  # urllib, huggingface_hub and requests each raise their own
        raise UserError(
            f"backbone '{name}': OpenAI's weights are not at {cached} and could not be downloaded "
            f"({type(error).__name__}); put the file there or set MODEL.BACKBONE.PATH, "
            "or use MODEL.BACKBONE.NAME mini"
        ) from error


def _load_open_clip(name: str, path: str, precision: str, device, cache_dir: str | None) -> FrozenCLIP:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    architecture_name, tag = name.split(":", 1)
    model_config = open_clip.get_model_config(architecture_name)
    if model_config is None:
        models = open_clip.list_models()
        raise UserError(
            f"MODEL.BACKBONE.NAME: open_clip has no model '{architecture_name}'{suggest(architecture_name, models)}"
        )
    weights = get_pretrained_cfg(architecture_name, tag)
    if not weights and not path:
        tags = open_clip.list_pretrained_tags_by_model(architecture_name)
        raise UserError(
            f"MODEL.BACKBONE.NAME: open_clip has no weights '{tag}' for '{architecture_name}'; "
            f"allowed: {', '.join(tags) or 'none'}{suggest(tag, tags)}"
        )
    _refuse_quick_gelu_mismatch(name, bool(model_config.get("quick_gelu")), weights)
    if path and Path(path).suffix not in (".npy", ".npz"):  # open_clip reads those without pickles
        read_tensors(path)  # which names what open_clip would take in silence
    try:
        model, _, _ = open_clip.create_model_and_transforms(
            architecture_name,
            pretrained=path or tag,
            precision="fp32" if precision == "amp" else precision,
            device=device,
            cache_dir=cache_dir,
        )
    except Exception as error:
        raise UserError(
            f"backbone '{name}': open_clip could not load it ({type(error).__name__}: {shorten(error)})"
        ) from error
    _refuse_non_finite(model, name, precision)
    if not hasattr(getattr(model, "text", model), "token_embedding"):
        raise UserError(
            f"backbone '{name}': its text tower is not open_clip's own transformer, context vectors cannot be inserted"
        )
    mean, std = model.visual.image_mean or MEAN, model.visual.image_std or STD
    return FrozenCLIP(model, open_clip.get_tokenizer(architecture_name), name, precision, mean, std)


def _refuse_quick_gelu_mismatch(name: str, model_quick: bool, weights: dict | None) -> None:
    if weights is None or not weights or bool(weights.get("quick_gelu")) == model_quick:
        return
    model, tag = name.split(":", 1)
    other = f"{model}-quickgelu" if not model_quick else model.removesuffix("-quickgelu")
    trained, built = ("without", "with") if model_quick else ("with", "without")
    raise UserError(
        f"MODEL.BACKBONE.NAME: '{name}' would run weights trained {trained} QuickGELU in a model {built} "
        f"it; use '{other}:{tag}'"
    )
