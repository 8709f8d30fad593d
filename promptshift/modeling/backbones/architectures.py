"""Which CLIP a weight file holds: the name that its sizes imply, and what sizes do not tell (activation, heads).

Sizes are read off the weights, names and heads off open_clip's own configurations. The activation of the blocks leaves
no trace in the weights: a `config.json` or `open_clip_config.json` beside the file tells it, else the rule that OpenAI
trained its six models with QuickGELU and everybody else's open_clip models say so in their name.
"""

from __future__ import annotations

import functools
from pathlib import Path

from dassl.utils import read_json
from dassl.utils.errors import UserError, quoted, shorten
from promptshift.modeling.backbones.weights import HEAD_WIDTH, architecture, read_state_dict, weight_file

# OpenAI's name -> open_clip's
OPENAI_NAMES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
_QUICK = "-quickgelu"  # ends open_clip's names of models whose twin of the same sizes is trained with GELU
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}  # of transformers' CLIP


def backbone_name(path: str | Path) -> str:
    """Return the name of the CLIP that a weight file holds, read off its weights.

    Returns:
        OpenAI's name (`ViT-B/16`) where it has one, else open_clip's (`ViT-H-14`), else "" for sizes of no published
        model.

    Raises:
        UserError: As `weights.read_state_dict`, or its tensors do not form a CLIP.
    """
    return known_name(architecture(read_state_dict(path)))


def known_name(sizes: dict) -> str:
    """Return the name of the published CLIP of the given sizes (keys as `weights.architecture`), "" for others."""
    found = known_models(sizes)
    openai = [name for name, other in OPENAI_NAMES.items() if other in found]
    return openai[0] if openai else min(found, key=lambda name: (name.endswith(_QUICK), len(name)), default="")


def image_tower_name(sizes: dict) -> str:
    """Return OpenAI's name of the CLIP with an image tower of these sizes, whatever its text tower; "" for others."""
    keys = ("patch_size", "vision_width", "vision_layers", "image_size")
    known = {name: _known()[model] for name, model in OPENAI_NAMES.items()}
    return next((name for name, own in known.items() if all(own[key] == sizes[key] for key in keys)), "")


def known_models(sizes: dict) -> list[str]:
    """Return open_clip's names of the models of the given sizes, but for those with towers of timm or transformers."""
    return [name for name, known in _known().items() if all(sizes.get(key) == value for key, value in known.items())]


@functools.cache
def _known() -> dict[str, dict]:
    """Name of an open_clip model -> its sizes, without heads; the common ones alone, which weights can be read as."""
    import open_clip  # takes a second: only where it is needed

    configs = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return {name: sizes for name, config in configs.items() if (sizes := _sizes(config))}


def _sizes(config: dict) -> dict | None:
    """Sizes in open_clip's configuration of a model in OpenAI's layout; None for other models."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    usual_vision = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
    usual_text = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
    if config.get("custom_text") or not (vision.keys() <= usual_vision and text.keys() <= usual_text):
        return None
    resnet = isinstance(vision["layers"], list)
    sizes = dict(
        embed_dim=config["embed_dim"],
        image_size=vision["image_size"],
        patch_size=None if resnet else vision["patch_size"],
        vision_width=vision["width"],
        vision_layers=tuple(vision["layers"]) if resnet else vision["layers"],
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        text_width=text["width"],
        text_layers=text["layers"],
        text_mlp=int(text["width"] * text.get("mlp_ratio", 4.0)),
    )
    return sizes if resnet else sizes | dict(vision_mlp=int(vision["width"] * vision.get("mlp_ratio", 4.0)))


def complete(sizes: dict, path: str | Path) -> dict:
    """Return sizes with what the weights do not tell: the heads, and `quick_gelu`.

    Args:
        sizes: As `weights.architecture` reads them off the weights in `path`.
        path: The file or folder of the weights; configurations are looked for beside them.

    Raises:
        UserError: A configuration beside the file is unreadable or contradicts the weights; it is named.
    """
    import open_clip

    file = weight_file(path)
    found = known_models(sizes)
    known = open_clip.get_model_config(found[0]) if found else {"text_cfg": {}, "vision_cfg": {}}
    sizes = sizes | _heads(sizes, known["vision_cfg"].get("head_width", HEAD_WIDTH), known["text_cfg"].get("heads"))
    beside = _open_clip_beside(file) or _transformers_beside(file, sizes)
    return sizes | {"quick_gelu": not found or known_name(sizes) in OPENAI_NAMES} | beside


def declared_quick_gelu(path: str | Path) -> bool | None:
    """Return what a configuration beside the weights says of their activation, None where there is none.

    Raises:
        UserError: As `complete`.
    """
    file = weight_file(path)
    return (_open_clip_beside(file) or _transformers_beside(file, {})).get("quick_gelu")


def _heads(sizes: dict, head_width: int, text_heads: int | None) -> dict:
    width = sizes["vision_width"]
    vision = width // head_width if sizes["patch_size"] else sizes["vision_heads"]
    return {"vision_heads": vision, "text_heads": text_heads or sizes["text_heads"]}


def _open_clip_beside(file: Path) -> dict:
    """What an open_clip configuration beside a file of open_clip's name says of its activation; {} without one."""
    path = file.with_name("open_clip_config.json")
    if not file.name.startswith("open_clip") or not path.is_file():
        return {}
    return {"quick_gelu": bool(read_open_clip_config(path)[0].get("quick_gelu", False))}


def read_open_clip_config(path: Path) -> tuple[dict, dict]:
    """Return the model's part and the preprocessing of an `open_clip_config.json`.

    Raises:
        UserError: It is unreadable or lacks `embed_dim`, `vision_cfg` or `text_cfg`.
    """
    content = _read_object(path)
    model = content.get("model_cfg", content)
    kinds = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    for key, kind in kinds.items():
        if not isinstance(model, dict) or type(model.get(key)) is not kind:
            raise UserError(f"{shorten(path, 400)}: model_cfg.{key} is missing or no {kind.__name__}")
    preprocess = content.get("preprocess_cfg", {})
    return model, preprocess if isinstance(preprocess, dict) else {}


def is_transformers_clip(folder: Path) -> bool:
    """Tell whether a folder holds a CLIP as Hugging Face transformers saves it."""
    path = folder / "config.json"
    return path.is_file() and _read_object(path).get("model_type") == "clip"


def _transformers_beside(file: Path, sizes: dict) -> dict:
    """Activation and heads in a transformers configuration beside a file; {} without one of a CLIP."""
    path = file.with_name("config.json")
    if not is_transformers_clip(file.parent):
        return {}
    config = _read_object(path)
    towers = {name: _tower(config, name) for name in ("text", "vision")}
    said = {name: tower.get("hidden_act", "quick_gelu") for name, tower in towers.items()}  # transformers' default
    for name, value in said.items():
        if value not in _ACTIVATIONS or value != said["text"]:
            raise UserError(
                f"{shorten(path, 400)}: {name}_config.hidden_act is {quoted(value)}; "
                f"allowed: {', '.join(_ACTIVATIONS)}, the same in both towers"
            )
    result = {"quick_gelu": _ACTIVATIONS[said["text"]]}
    for name, tower in towers.items() if sizes.get("patch_size") else ():
        heads, width = tower.get("num_attention_heads"), sizes[f"{name}_width"]
        if heads is None:
            continue
        if type(heads) is not int or heads < 1 or width % heads:
            raise UserError(
                f"{shorten(path, 400)}: {name}_config.num_attention_heads is {quoted(heads)}; the width {width} of the "
                "tower must be a multiple of it"
            )
        result[f"{name}_heads"] = heads
    return result


def _tower(config: dict, name: str) -> dict:
    """Settings of a tower; old files keep them twice, as `text_config` and `text_config_dict`."""
    parts = (config.get(f"{name}_config"), config.get(f"{name}_config_dict"))
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


def _read_object(path: Path) -> dict:
    """The object in a JSON file.

    Raises:
        UserError: It is unreadable or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{shorten(path, 400)} holds {type(content).__name__}; an object was expected")
    return content
