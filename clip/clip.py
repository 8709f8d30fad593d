"""Loading and tokenizing, with the names that public trainer files call: `from clip import clip`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transform import image_transform
from torch import Tensor

from clip.model import CLIP, build_model
from clip.simple_tokenizer import SimpleTokenizer
from dassl.data.download import fetch
from dassl.utils import atomic_path
from dassl.utils.errors import UserError, suggest
from promptshift.mini.weights import MINI_SHA256, load_mini_state_dict
from promptshift.modeling import tokens
from promptshift.modeling.clip import MEAN, OPENAI_NAMES, STD, read_clip
from promptshift.paths import output_root

__all__ = ["available_models", "build_model", "load", "tokenize"]

_LARGE_RESNETS = {name: name for name in ("RN50x4", "RN50x16", "RN50x64")}
# OpenAI's name -> address, whose last folder is the file's SHA-256; "mini" is made here, not downloaded
_MODELS = {name: get_pretrained_cfg(tag, "openai")["url"] for name, tag in (OPENAI_NAMES | _LARGE_RESNETS).items()}
_MODELS["mini"] = "mini"
_tokenizer = SimpleTokenizer()


def available_models() -> list[str]:
    """Names that `load` and `_MODELS` know."""
    return list(_MODELS)


def _download(url: str, root: str | Path | None = None) -> str:
    """The weight file behind an entry of `_MODELS`, downloaded where it is not there yet.

    Args:
        url: a value of `_MODELS`.
        root: folder of the file; OpenAI's `~/.cache/clip` when None, `$OUTPUT/clip` for the embedded `mini`, whose
            file is a plain state dict (`torch.jit.load` refuses it with RuntimeError, `torch.load` reads it).

    Raises:
        UserError: no connection, or a file with another checksum.
    """
    if url == _MODELS["mini"]:
        path = Path(root or output_root() / "clip") / f"mini-{MINI_SHA256[:16]}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                torch.save(load_mini_state_dict(), temporary)
        return str(path)
    *_, sha256, filename = url.split("/")
    path = Path(root or "~/.cache/clip").expanduser() / filename
    fetch(url, path, sha256=sha256)
    return str(path)


def _transform(n_px: int):
    """PIL image -> normalised tensor (3, n_px, n_px): bicubic resize of the shorter side, centre crop."""
    return image_transform(n_px, is_train=False, mean=MEAN, std=STD)


def load(
    name: str, device: str | torch.device | None = None, jit: bool = False, download_root: str | None = None
) -> tuple[CLIP, object]:
    """A CLIP and the transform of its images.

    Args:
        name: one of `available_models()`, or a weight file that `MODEL.BACKBONE.PATH` takes.
        device: the GPU when None and there is one. On a CPU the weights are float32, elsewhere float16 as OpenAI's.
        jit: must be False; the weights are the same, and scripted models cannot be extended.
        download_root: where downloads go.

    Raises:
        UserError: unknown name, unreadable file, no connection, `jit`.
    """
    if jit:
        raise UserError("clip.load: jit True is not supported; allowed: False")
    if name not in _MODELS and not Path(name).is_file():
        raise UserError(
            f"clip.load: no model and no file is called '{name}'; allowed: {', '.join(_MODELS)}{suggest(name, _MODELS)}"
        )
    path = _download(_MODELS[name], download_root) if name in _MODELS else name
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    state, sizes = read_clip(path)
    model = build_model(state, sizes=sizes).to(device)
    return (model.float() if device.type == "cpu" else model), _transform(model.visual.input_resolution)


def tokenize(texts: str | Sequence[str], context_length: int = 77, truncate: bool = False) -> Tensor:
    """Texts -> token ids (N, context_length), int64, zeros behind the end-of-text token (the largest id of a row).

    Args:
        texts: one text or several.
        context_length: columns of the result.
        truncate: cut longer texts off before their end-of-text token instead of raising.

    Raises:
        UserError: a text is too long.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if truncate:
        return _tokenizer(texts, context_length)
    ids, _ = tokens.tokenize(_tokenizer, texts, context_length)
    return F.pad(ids, (0, context_length - ids.shape[1]))
