"""The packed mini CLIP: half precision, only the token rows that pretraining touched.

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

MINI_WEIGHTS = Path(__file__).with_name("mini_clip.npz")
MINI_SHA256 = "05aea3b5d95b6b9e870a1c6522512145e08f7a4490b9b8ff663629e167e60ae8"
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
            np.savez_compressed(stream, token_ids=np.asarray(token_ids, dtype=np.int32),
                                config=np.array(json.dumps(config)), **arrays)
    return file_sha256(path)


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def read_packed(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict]:
    """Read a packed file, whatever its checksum.

    Returns:
        The full OpenAI-format state dict in float32 (token table (49408, 128)) and its config.
    """
    with np.load(path, allow_pickle=False) as packed:
        arrays = {name: packed[name] for name in packed.files}
    config = json.loads(str(arrays.pop("config")))
    ids = arrays.pop("token_ids")
    table = np.random.default_rng(0).standard_normal((config["vocab_size"], config["text_width"]),
                                                     dtype=np.float32) * np.float32(0.02)
    table[ids] = arrays[_TABLE]
    arrays[_TABLE] = table
    return {name: torch.from_numpy(np.asarray(array, dtype=np.float32)) for name,
            array in arrays.items()}, config


def _checked(path: str | os.PathLike) -> Path:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: the weights of the mini CLIP are missing; {REMEDY}")
    if (found := file_sha256(path)) != MINI_SHA256:
        raise UserError(f"{path}: SHA-256 is {found}, expected {MINI_SHA256}; {REMEDY}")
    return path


def load_mini_state_dict(path: str | os.PathLike = MINI_WEIGHTS) -> dict[str, torch.Tensor]:
    """Weights of the shipped mini CLIP: OpenAI parameter names, float32, all 49408 token rows.

    Raises:
        UserError: the file is missing or its checksum is not `MINI_SHA256`.
    """
    return read_packed(_checked(path))[0]


def mini_config(path: str | os.PathLike = MINI_WEIGHTS) -> dict:
    """Sizes of the shipped mini CLIP, read from its file.

    Keys: embed_dim, image_size, patch_size, vision_width, vision_layers, vision_heads, text_width, text_layers,
    text_heads, context_length, vocab_size, mean, std (the last two per RGB channel, for images in 0..1).

    Raises:
        UserError: as `load_mini_state_dict`.
    """
    with np.load(_checked(path), allow_pickle=False) as packed:
        return json.loads(str(packed["config"]))
