"""Models of open_clip by name: `model:pretrained`, `hf-hub:ORG/NAME`, `local-dir:FOLDER`.

The weight file is found by `sources` and read by `weights`, as every other one: nothing that a file or a repository
holds is run. open_clip gives the configuration, the modules, the tokenizer and the translation of foreign layouts.
"""

from __future__ import annotations

import importlib.util
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from dassl.utils.errors import UserError, shorten, suggest
from promptshift.modeling.backbones import sources
from promptshift.modeling.backbones.architectures import (
    declared_quick_gelu,
    is_transformers_clip,
    known_models,
    read_open_clip_config,
)
from promptshift.modeling.backbones.layouts import from_hugging_face, is_hugging_face, without_prefix
from promptshift.modeling.backbones.weights import architecture, read_tensors

HUB, FOLDER = "hf-hub:", "local-dir:"
_BIG_VISION = (".npy", ".npz")  # the original SigLIP weights, which open_clip reads without pickles


@dataclass
class Wanted:
    """What a name stands for.

    Attributes:
        config: open_clip's configuration of the model; empty for a CLIP as transformers saves it.
        weights: the weight file or its folder.
        vocabulary: where the tokenizer comes from, if it is one of transformers: a folder, or a name on the hub.
        preprocess: open_clip's settings of the input, `mean` and `std` among them.
        published: whether the weights are open_clip's own for this model, whose positions it may resize.
    """

    config: dict
    weights: str | Path
    vocabulary: str = ""
    preprocess: dict = field(default_factory=dict)
    published: bool = False


def find_model(name: str, path: str, cache_dir: str | None) -> Wanted:
    """Look up a name with a colon, and find its weights.

    Args:
        name: `model:pretrained`, `hf-hub:ORG/NAME` or `local-dir:FOLDER`.
        path: weights to take instead, "" for the model's own.
        cache_dir: where downloads are kept.

    Raises:
        UserError: no such model, its weights are nowhere, or it cannot be used for prompts; one line says why.
    """
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        config, weights = sources.hub_model(repository, cache_dir)
        return _described(name, config.parent, path or weights, "")
    if name.startswith(FOLDER):
        folder = Path(name.removeprefix(FOLDER)).expanduser()
        if not folder.is_dir():
            raise UserError(f"MODEL.BACKBONE.NAME: '{shorten(name, 400)}': there is no such folder")
        return _described(name, folder, path or folder, str(folder))
    return _listed(name, path, cache_dir)


def _described(name: str, folder: Path, weights: str | Path, vocabulary: str) -> Wanted:
    """The model that the configuration in a folder describes; `vocabulary` is "" for the one that it names."""
    described = folder / "open_clip_config.json"
    if described.is_file():
        config, preprocess = read_open_clip_config(described)
        _refuse_foreign_text(name, config)
        return Wanted(config, weights, vocabulary or config["text_cfg"].get("hf_tokenizer_name", ""), preprocess)
    if is_transformers_clip(folder):
        return Wanted({}, weights)
    raise UserError(
        f"MODEL.BACKBONE.NAME: '{shorten(name, 400)}' has no open_clip_config.json, and no config.json of a CLIP "
        "(model_type clip); allowed: a folder or repository with one of them"
    )


def _listed(name: str, path: str, cache_dir: str | None) -> Wanted:
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    model, tag = name.split(":", 1)
    config = open_clip.get_model_config(model) if model in open_clip.list_models() else None
    if config is None:
        raise UserError(
            f"MODEL.BACKBONE.NAME: open_clip has no model '{shorten(model)}'{suggest(model, open_clip.list_models())}"
        )
    published = get_pretrained_cfg(model, tag)
    if not published and not path:
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise UserError(
            f"MODEL.BACKBONE.NAME: open_clip has no weights '{tag}' for '{model}'; "
            f"allowed: {', '.join(tags) or 'none'}{suggest(tag, tags)}"
        )
    _refuse_foreign_text(name, config)
    quick_gelu = bool(config.get("quick_gelu"))
    if published:
        _refuse_quick_gelu_mismatch(name, quick_gelu, bool(published.get("quick_gelu")))
    if path:
        said = None if Path(path).suffix in _BIG_VISION else declared_quick_gelu(path)
        if said is not None:
            _refuse_quick_gelu_mismatch(name, quick_gelu, said)
    weights = path or sources.tagged_file(model, tag, cache_dir)
    vocabulary = config["text_cfg"].get("hf_tokenizer_name", "")
    return Wanted(config, weights, vocabulary, published, published=not path)


def _refuse_foreign_text(name: str, config: dict) -> None:
    """Refuse, before anything is downloaded, text towers that no context vectors can be put into."""
    text = config["text_cfg"]
    if text.get("hf_model_name"):
        raise UserError(
            f"backbone '{name}': its text tower is '{shorten(text['hf_model_name'])}' of Hugging Face transformers, "
            "not open_clip's own transformer; context vectors cannot be inserted"
        )
    if text.get("tokenizer_mode"):
        raise UserError(
            f"backbone '{name}': its tokenizer's mode is '{shorten(text['tokenizer_mode'])}', which prompts do not know"
        )
    if text.get("hf_tokenizer_name") and importlib.util.find_spec("transformers") is None:
        raise UserError(
            f"backbone '{name}': its tokenizer '{shorten(text['hf_tokenizer_name'])}' needs the package transformers "
            "(pip install transformers)"
        )


def _refuse_quick_gelu_mismatch(name: str, model_quick: bool, trained_quick: bool) -> None:
    if model_quick == trained_quick:
        return
    model, tag = name.split(":", 1)
    other = f"{model}-quickgelu" if not model_quick else model.removesuffix("-quickgelu")
    trained, built = ("without", "with") if model_quick else ("with", "without")
    raise UserError(
        f"MODEL.BACKBONE.NAME: '{name}' would run weights trained {trained} QuickGELU in a model {built} "
        f"it; use '{other}:{tag}'"
    )


def build_tokenizer(name: str, wanted: Wanted, cache_dir: str | None):
    """Return open_clip's tokenizer of a model; only one of transformers may have to be downloaded.

    Raises:
        UserError: it cannot be loaded.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text = wanted.config["text_cfg"]
    try:
        settings = {"context_length": text.get("context_length", 77), **text.get("tokenizer_kwargs", {})}
        if text.get("hf_tokenizer_name"):
            return HFTokenizer(wanted.vocabulary, cache_dir=cache_dir, **settings)
        return SimpleTokenizer(**settings)
    except Exception as error:  # transformers and huggingface_hub each raise their own
        raise UserError(
            f"backbone '{name}': its tokenizer could not be loaded ({type(error).__name__}: {shorten(error)})"
        ) from error


def build_model(name: str, wanted: Wanted, dtype: torch.dtype) -> nn.Module:
    """Build an open_clip model and load its weights.

    Raises:
        UserError: open_clip cannot build it, or the weights do not fit it.
    """
    try:
        model = _empty(wanted.config, dtype)
    except Exception as error:  # a configuration of a file may hold anything
        raise UserError(
            f"backbone '{name}': open_clip could not build it ({type(error).__name__}: {shorten(error)})"
        ) from error
    if Path(wanted.weights).suffix in _BIG_VISION:
        _load_big_vision(model, wanted)
    else:
        _load(model, read_tensors(wanted.weights), name, wanted)
    return _in_precision(model, dtype, "timm_model_name" in wanted.config["vision_cfg"])


def _empty(config: dict, dtype: torch.dtype) -> nn.Module:
    """The model of a configuration, randomly initialised; nothing is downloaded for its towers."""
    from open_clip import CLIP, CoCa, CustomTextCLIP

    config = deepcopy(config)
    kind = CLIP
    if config.pop("custom_text", False):
        kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    with torch.random.fork_rng(devices=[]):
        return kind(**config, cast_dtype=None if dtype == torch.float32 else dtype)


def _in_precision(model: nn.Module, dtype: torch.dtype, timm: bool) -> nn.Module:
    """Cast as open_clip casts; layer norms that compute in float32 keep their weights in it."""
    from open_clip.model import convert_weights_to_lp
    from open_clip.transformer import AttentionalPooler, LayerNormFp32

    if dtype == torch.float32:
        return model
    if not timm:
        convert_weights_to_lp(model, dtype)
        for module in model.modules():
            if isinstance(module, AttentionalPooler):  # CoCa's, which open_clip leaves for autocast
                module.query.data = module.query.data.to(dtype)
        return model
    model.to(dtype)
    for module in model.modules():
        if isinstance(module, LayerNormFp32):
            module.float()
    return model


def _load_big_vision(model: nn.Module, wanted: Wanted) -> None:
    from open_clip.convert import load_big_vision_weights

    try:
        load_big_vision_weights(model, str(wanted.weights))
    except Exception as error:  # numpy, zipfile and open_clip each raise their own
        raise UserError(
            f"MODEL.BACKBONE.PATH: {shorten(wanted.weights, 400)} is not a readable file of big_vision's weights "
            f"({type(error).__name__}: {shorten(error)})"
        ) from error


def _load(model: nn.Module, state: dict[str, Tensor], name: str, wanted: Wanted) -> None:
    from open_clip.factory import resize_pos_embed, resize_text_pos_embed

    try:
        state = _in_names_of(model, state)
        if wanted.published:
            resize_pos_embed(state, model)
            resize_text_pos_embed(state, model)
        _refuse_misfit(model, state)
    except UserError as error:
        raise UserError(
            f"backbone '{name}': {shorten(wanted.weights, 400)} does not fit it: {error}{_holds(state)}"
        ) from None
    except Exception as error:  # open_clip's translations take names and shapes for granted
        raise UserError(
            f"backbone '{name}': open_clip could not load {shorten(wanted.weights, 400)} "
            f"({type(error).__name__}: {shorten(error)})"
        ) from error
    model.load_state_dict(state)


def _in_names_of(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in a model's names: of transformers', of other projects' and of open_clip's older files."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = without_prefix(state)
    if is_hugging_face(state):
        state = from_hugging_face(state)
    state = convert_state_dict(model, state)
    if hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state) if "positional_embedding" in state else state
    elif "text.token_embedding.weight" in state:
        state = {key.removeprefix("text."): value for key, value in state.items()}
    for key in ("logit_scale", "logit_bias"):
        own = getattr(model, key, None)
        if own is not None and key in state and state[key].numel() == own.numel():
            state = state | {key: state[key].reshape(own.shape)}
    return state


def _refuse_misfit(model: nn.Module, state: dict[str, Tensor]) -> None:
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key in sorted(expected.keys() | state.keys()):
        if key not in state:
            raise UserError(f"the tensor {key} is missing")
        if key not in expected:
            raise UserError(f"the tensor {shorten(key)} belongs to another model")
        if tuple(state[key].shape) != expected[key]:
            raise UserError(f"{key} has the shape {tuple(state[key].shape)} instead of {expected[key]}")


def _holds(state: dict[str, Tensor]) -> str:
    """What a state dict in OpenAI's layout holds, in words."""
    try:
        found = known_models(architecture(state))
    except UserError:
        return ""
    return f"; it holds {' or '.join(found)}" if found else ""
