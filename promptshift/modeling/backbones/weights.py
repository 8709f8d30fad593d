"""Reading CLIP weight files and the architecture they imply."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from dassl.utils.archives import is_archive, load_archive, refuse_harmful_file
from dassl.utils.errors import UserError, shorten
from promptshift.modeling.backbones.layouts import to_openai

HEAD_WIDTH = 64  # OpenAI's towers all use 64 channels a head (arXiv 2103.00020, table 20)
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # scalars OpenAI stores beside its weights
_MASK = "attn_mask"  # follows from the context length; a scripted CLIP stores it
# of batch norms; of open_clip's text towers and timm's vision towers, which OpenAI's layout does not have
_INTEGERS = ("num_batches_tracked", "position_ids", "relative_position_index")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# where a checkpoint that also holds an optimizer keeps the weights: open_clip and Dassl; others
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# of a folder, the first that is there: open_clip's names, then Hugging Face transformers'
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
_MOST_BLOCKS = 256  # of a tower; the largest CLIP so far has 48, and building a million takes minutes


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a CLIP state dict, and bring it to OpenAI's layout.

    Args:
        path: OpenAI's TorchScript archive (`ViT-B-16.pt`), a `torch.save`d state dict or training checkpoint, a
            `.safetensors` file, or a folder that holds one of `WEIGHT_FILES`; in any layout of `layouts`.

    Raises:
        UserError: The file is missing, unreadable, or holds something else, or as `read_tensors`.
    """
    state = read_tensors(path)
    try:
        state = to_openai(state)
    except UserError as error:
        raise UserError(f"MODEL.BACKBONE.PATH: {_shown(path)}: {error}") from None
    if "token_embedding.weight" not in state or not any(k.startswith("visual.") for k in state):
        raise UserError(
            f"MODEL.BACKBONE.PATH: {_shown(path)} holds no CLIP state dict "
            "(expected token_embedding.weight and visual.* tensors, or text_model.* and vision_model.*)"
        )
    return state


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a weight file, on the CPU, without running anything that the file holds.

    Args:
        path: As `read_state_dict`.

    Returns:
        Name -> dense tensor; all are of a floating type and finite, but for counters and positions. The
        prefix of DataParallel, sizes and attention masks that OpenAI's files hold beside the weights are left out.

    Raises:
        UserError: The file is missing or unreadable, or a tensor (which is named) is not as said.
    """
    state = _read(weight_file(path))
    wrapper = next((key for key in _WRAPPERS if isinstance(state.get(key), dict)), None)
    state = state if wrapper is None else state[wrapper]
    state = dict(dict.items(state))  # an OrderedDict may have had methods set on it
    named = {name.removeprefix("module."): value for name, value in state.items() if isinstance(name, str)}
    if len(named) != len(state):
        odd = next((name for name in state if not isinstance(name, str)), "module.*")
        raise UserError(
            f"MODEL.BACKBONE.PATH: {_shown(path)} is no state dict: {shorten(repr(odd))} is not the name of one tensor"
        )
    weights = {
        name: value for name, value in named.items() if name not in _NOT_WEIGHTS and name.split(".")[-1] != _MASK
    }
    for name, value in weights.items():
        fault = _fault(name, value)
        if fault:
            raise UserError(f"MODEL.BACKBONE.PATH: {_shown(path)}: {shorten(name)} {fault}")
    return weights


def weight_file(path: str | Path) -> Path:
    """Return the file that a path names, or the weights in the folder that it names.

    Raises:
        UserError: There is none.
    """
    try:
        found = Path(path).expanduser()
        inside = next((found / name for name in WEIGHT_FILES if (found / name).is_file()), None)
        found, folder = inside or found, found.is_dir()
        there = found.is_file()
    except (OSError, RuntimeError) as error:  # too long a name, a home folder of nobody
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"MODEL.BACKBONE.PATH: {_shown(path)} cannot be looked up ({shorten(reason)})") from None
    if not there and folder:
        raise UserError(
            f"MODEL.BACKBONE.PATH: the folder {_shown(path)} holds no weights; allowed: {', '.join(WEIGHT_FILES)}"
        )
    if not there:
        raise UserError(f"MODEL.BACKBONE.PATH: no such file {_shown(path)}")
    return found


def _shown(path: str | Path) -> str:
    return shorten(path, 400)


def _read(path: Path) -> dict:
    """What is in the file, a dict in any case."""
    try:
        content = _read_any(path)
    except Exception as error:  # torch, zipfile, pickle, zlib and safetensors each raise their own
        raise UserError(
            f"MODEL.BACKBONE.PATH: {_shown(path)} is not a readable CLIP weight file ({shorten(error)})"
        ) from error
    return dict(dict.items(content)) if isinstance(content, dict) else {}


def _read_any(path: Path) -> object:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if is_archive(path):  # never by torch.load, which hands TorchScript to torch.jit.load, which runs what is in it
        return load_archive(path)
    refuse_harmful_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _fault(name: str, value: object) -> str:
    """What is wrong with an entry of a state dict, or "" when nothing is."""
    if type(value) not in (Tensor, nn.Parameter):
        return f"is {shorten(repr(value), 40)}, not a tensor"
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.device.type != "cpu":
        return "is not a dense tensor of plain numbers"
    if name.split(".")[-1] in _INTEGERS:
        return "" if value.dtype == torch.int64 else f"is {value.dtype}; allowed: torch.int64"
    if value.dtype not in _FLOATS:
        return f"is {value.dtype}; weights are never cast, allowed: {', '.join(map(str, _FLOATS))}"
    return "" if is_finite(value) else "holds numbers that are not finite (NaN or infinite as float32)"


def is_finite(value: Tensor) -> bool:
    """Tell whether every number of a floating tensor is finite, also as the float32 that the towers are loaded in."""
    return bool(torch.isfinite(value.detach().float() if value.dtype == torch.float64 else value).all())


def architecture(state: dict[str, Tensor]) -> dict:
    """Read the sizes of both towers off an OpenAI-format state dict (ViT or ModifiedResNet).

    Returns:
        embed_dim, image_size, patch_size (None for a ResNet), vision_width, vision_layers (int, or four ints for a
        ResNet), vision_heads, vision_mlp (not of a ResNet), context_length, vocab_size, text_width, text_layers,
        text_heads, text_mlp; the last of each tower is the hidden width of its blocks. Heads are of 64 channels.

    Raises:
        UserError: A tensor that the sizes are read off is missing or has a shape that no CLIP has; it is named.
    """
    text_width = _width(state, "ln_final.weight", 1)
    sizes = dict(
        embed_dim=_shape(state, "text_projection", 2)[1],
        context_length=_shape(state, "positional_embedding", 2)[0],
        vocab_size=_shape(state, "token_embedding.weight", 2)[0],
        text_width=text_width,
        text_layers=_blocks(state, "transformer.resblocks."),
        text_heads=text_width // HEAD_WIDTH,
        text_mlp=_mlp(state, "", text_width),
    )
    if "visual.proj" in state:
        width, patch = _width(state, "visual.conv1.weight", 4), _shape(state, "visual.conv1.weight", 4)[2]
        grid = _grid(state, "visual.positional_embedding")
        return sizes | dict(
            image_size=patch * grid,
            patch_size=patch,
            vision_width=width,
            vision_layers=_blocks(state, "visual.transformer.resblocks."),
            vision_heads=width // HEAD_WIDTH,
            vision_mlp=_mlp(state, "visual.", width),
        )
    width = _width(state, "visual.layer1.0.conv1.weight", 4, HEAD_WIDTH // 32)
    grid = _grid(state, "visual.attnpool.positional_embedding")
    return sizes | dict(
        image_size=grid * 32,
        patch_size=None,
        vision_width=width,  # a ResNet's total stride is 32
        vision_layers=tuple(_blocks(state, f"visual.layer{i}.") for i in (1, 2, 3, 4)),
        vision_heads=width * 32 // HEAD_WIDTH,
    )


def _shape(state: dict[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in state:
        raise UserError(f"the tensor {name} is missing")
    shape = tuple(state[name].shape)
    if len(shape) != rank or 0 in shape:
        raise UserError(f"{name} has the shape {shape}; {rank} dimension(s), none of them 0, were expected")
    return shape


def _width(state: dict[str, Tensor], name: str, rank: int, multiple: int = HEAD_WIDTH) -> int:
    """First size of a tensor, which heads of 64 channels must divide."""
    shape = _shape(state, name, rank)
    if shape[0] % multiple:
        raise UserError(f"{name} has the shape {shape}; the first size of a CLIP's is a multiple of {multiple}")
    return shape[0]


def _mlp(state: dict[str, Tensor], tower: str, width: int) -> int:
    """Hidden width of a tower's blocks; CLIP's own is four times the width."""
    hidden = state.get(f"{tower}transformer.resblocks.0.mlp.c_fc.weight")
    return 4 * width if hidden is None or hidden.ndim != 2 else hidden.shape[0]


def _grid(state: dict[str, Tensor], name: str) -> int:
    """Patches along a side, from positions of all patches and one more."""
    positions = _shape(state, name, 2)[0]
    grid = round((positions - 1) ** 0.5)
    if grid < 1 or grid**2 + 1 != positions:
        raise UserError(f"{name} has {positions} positions; a square of patches and one more were expected")
    return grid


def _blocks(state: dict[str, Tensor], prefix: str) -> int:
    count = len({found.group(1) for name in state if (found := re.match(re.escape(prefix) + r"(\d+)\.", name))})
    if not 0 < count <= _MOST_BLOCKS:
        raise UserError(f"there are {count} blocks {prefix}*; allowed: 1 to {_MOST_BLOCKS}")
    return count
