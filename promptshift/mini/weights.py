"""The packed mini CLIPs: half precision, only the token rows that pretraining touched.

The untouched rows of the 49408-row table are re-created from a fixed numpy stream, so they are the same on every
machine.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from dassl.utils import atomic_path
from dassl.utils.errors import UserError

WEIGHTS = {name: Path(__file__).with_name(f"{name}_clip.npz") for name in ("mini", "mini_large")}
SHA256 = {
    "mini": "05aea3b5d95b6b9e870a1c6522512145e08f7a4490b9b8ff663629e167e60ae8",
    "mini_large": "74316169690c6a19193474817efde766185abcdbb5ad32234bc5c9d81505938f",
}
MINI_WEIGHTS, MINI_SHA256 = WEIGHTS["mini"], SHA256["mini"]
REMEDY = "restore the file from the repository, or train new weights: python -m promptshift.mini.pretrain --out FILE"

_TABLE = "token_embedding.weight"


def pack(state_dict: dict[str, torch.Tensor], token_ids: list[int], config: dict, path: str | os.PathLike) -> str:
    """Write weights in the packed format.

    Args:
        state_dict: OpenAI-format weights whose token table has one row per entry of `token_ids`.
        token_ids: ids of these rows in the full vocabulary, ascending.
        config: sizes and normalisation, as `mini_config` returns them.
        path: the `.npz` file to write.

    Returns:
        SHA-256 of the file, hexadecimal.
    """
    arrays = {name: tensor.detach().cpu().numpy().astype(np.float16) for name, tensor in state_dict.items()}
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            np.savez_compressed(
                stream, token_ids=np.asarray(token_ids, dtype=np.int32), config=np.array(json.dumps(config)), **arrays
            )
    return file_sha256(path)


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_packed(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict]:
    """Read a packed file, whatever its checksum.

    Returns:
        The full OpenAI-format state dict in float32 and its config.
    """
    with np.load(path, allow_pickle=False) as packed:
        arrays = {name: packed[name] for name in packed.files}
    config = json.loads(str(arrays.pop("config")))
    ids = arrays.pop("token_ids")
    table = np.random.default_rng(0).standard_normal(
        (config["vocab_size"], config["text_width"]), dtype=np.float32
    ) * np.float32(0.02)
    table[ids] = arrays[_TABLE]
    arrays[_TABLE] = table
    return {name: torch.from_numpy(np.asarray(array, dtype=np.float32)) for name, array in arrays.items()}, config


def _checked(path: str | os.PathLike | None, name: str) -> Path:
    path = Path(path or WEIGHTS[name])
    if not path.is_file():
        raise UserError(f"{path}: the weights of the CLIP {name} are missing; {REMEDY} --model {name}")
    if (found := file_sha256(path)) != SHA256[name]:
        raise UserError(f"{path}: SHA-256 is {found}, expected {SHA256[name]}; {REMEDY} --model {name}")
    return path


def load_mini(name: str = "mini", path: str | os.PathLike | None = None) -> tuple[dict[str, torch.Tensor], dict]:
    """Weights and sizes of a shipped CLIP.

    Args:
        name: `mini` or `mini_large`.
        path: another place of its file.

    Returns:
        Weights by OpenAI's parameter names, float32, with all 49408 token rows; and the config, see `mini_config`.

    Raises:
        UserError: the file is missing or its checksum is not the one of `SHA256`.
    """
    return read_packed(_checked(path, name))


def load_mini_state_dict(path: str | os.PathLike | None = None, name: str = "mini") -> dict[str, torch.Tensor]:
    """The weights of `load_mini`."""
    return load_mini(name, path)[0]


def mini_config(path: str | os.PathLike | None = None, name: str = "mini") -> dict:
    """Sizes of a shipped CLIP, read from its file.

    Keys: embed_dim, image_size, patch_size, vision_width, vision_layers, vision_heads, text_width, text_layers,
    text_heads, context_length, vocab_size, mean, std (the last two per RGB channel, for images in 0..1).

    Raises:
        UserError: as `load_mini`.
    """
    with np.load(_checked(path, name), allow_pickle=False) as packed:
        return json.loads(str(packed["config"]))
