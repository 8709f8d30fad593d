"""Frozen image features, computed once per image, backbone and transform, and kept on disk."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from dassl.utils import atomic_path
from dassl.utils.writing import remove_stale_temporaries
from promptshift.randomness import own_random_state

log = logging.getLogger(__name__)


def image_set_key(items: list[tuple[str, int]], key: str) -> str:
    """Names a set of images for a cache: paths, sizes, modification times, labels, and what else features depend on."""
    digest = hashlib.blake2b(key.encode(), digest_size=10)
    for path, label in items:
        try:
            stat = os.stat(path)
            digest.update(f"{path}|{stat.st_size}|{stat.st_mtime_ns}|{label}\n".encode())
        except OSError:
            digest.update(f"{path}|missing|{label}\n".encode())  # the loader names it when it is read
    return digest.hexdigest()


def stored(path: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors from `path`, or computed and then kept there; an unreadable file is computed again."""
    remove_stale_temporaries(path.parent)
    if path.is_file():
        try:
            return load_file(path)
        except Exception:  # a foreign or damaged cache file costs time, never a run
            log.info(f"feature cache {path} is unreadable and is computed again")
    with own_random_state():
        tensors = compute()
    save_tensors(path, tensors)
    return tensors


def save_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; `about` is its metadata.

    The bytes go into the very file that `atomic_path` has locked. The library's own writer puts another file in its
    place, which a run that sweeps the folder just then takes for that of a killed one.
    """
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def cached_features(loader, encode: Callable[[Tensor], Tensor], key: str, folder: Path) -> tuple[Tensor, Tensor]:
    """Features of every image of a test loader, in its order.

    Args:
        loader: a Dassl test loader (no shuffling); `loader.dataset.data_source` lists its images.
        encode: images (B, 3, S, S) -> features (B, E).
        key: what the features depend on besides the image files (weights, precision, transform).
        folder: where cache files are kept.

    Returns:
        features (N, E) float32 and labels (N,) int64, on the CPU.
    """
    items = [(item.impath, item.label) for item in loader.dataset.data_source]

    def compute() -> dict[str, Tensor]:
        features, labels = [], []
        for batch in loader:
            features.append(encode(batch["img"]).cpu())
            labels.append(batch["label"])
        return {"features": torch.cat(features), "labels": torch.cat(labels)}

    tensors = stored(folder / f"test-{image_set_key(items, key)}.safetensors", compute)
    return tensors["features"], tensors["labels"]
