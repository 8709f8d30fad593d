"""Reading CLIP weight files and the architecture they imply."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from dassl.utils.errors import UserError

HEAD_WIDTH = 64  # OpenAI's towers all use 64 channels a head (arXiv 2103.00020, table 20)
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # scalars OpenAI stores beside its weights


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads a CLIP state dict in OpenAI's layout.

    Args:
        path: OpenAI's TorchScript archive (`ViT-B-16.pt`), a `torch.save`d state dict, or a `.safetensors` file.

    Raises:
        UserError: the file is missing, unreadable, or holds something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"MODEL.BACKBONE.PATH: no such file {path}")
    try:
        state = _read_any(path)
    except Exception as error:  # torch, zipfile and safetensors each raise their own
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise UserError(f"MODEL.BACKBONE.PATH: {path} is not a readable CLIP weight file ({reason})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    state = {k.removeprefix("module."): v for k, v in state.items() if k not in _NOT_WEIGHTS}
    if "token_embedding.weight" not in state or not any(k.startswith("visual.") for k in state):
        raise UserError(
            f"MODEL.BACKBONE.PATH: {path} holds no CLIP state dict "
            "(expected token_embedding.weight and visual.* tensors)"
        )
    return state


def _read_any(path: Path) -> dict:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any("/code/" in name for name in archive.namelist())
        if scripted:  # only its tensors are taken, none of its code is called
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True)


def architecture(state: dict[str, Tensor]) -> dict:
    """Reads the sizes of both towers off an OpenAI-format state dict (ViT or ModifiedResNet).

    Returns:
        embed_dim, image_size, patch_size (None for a ResNet), vision_width, vision_layers (int, or four ints for a
        ResNet), vision_heads, context_length, vocab_size, text_width, text_layers, text_heads.
    """

    def blocks(prefix: str) -> int:
        return len({m.group(1) for k in state if (m := re.match(re.escape(prefix) + r"(\d+)\.", k))})

    text_width = state["ln_final.weight"].shape[0]
    sizes = dict(
        embed_dim=state["text_projection"].shape[1],
        context_length=state["positional_embedding"].shape[0],
        vocab_size=state["token_embedding.weight"].shape[0],
        text_width=text_width,
        text_layers=blocks("transformer.resblocks."),
        text_heads=text_width // HEAD_WIDTH,
    )
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
        return sizes | dict(
            image_size=patch * grid,
            patch_size=patch,
            vision_width=width,
            vision_layers=blocks("visual.transformer.resblocks."),
            vision_heads=width // HEAD_WIDTH,
        )
    width = state["visual.layer1.0.conv1.weight"].shape[0]
    grid = round((state["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    return sizes | dict(
        image_size=grid * 32,
        patch_size=None,
        vision_width=width,  # a ResNet's total stride is 32
        vision_layers=tuple(blocks(f"visual.layer{i}.") for i in (1, 2, 3, 4)),
        vision_heads=width * 32 // HEAD_WIDTH,
    )
