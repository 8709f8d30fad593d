"""Training on K stored views of each image instead of fresh augmentations: for frozen image towers, by request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dassl.utils import read_image
from promptshift.modeling.features import image_set_key, stored


class _Views(Dataset):
    """K views (K, 3, S, S) of each image, view v of the i-th one augmented under a seed of (seed, i, v) alone."""

    def __init__(self, dataset, items: list, views: int, seed: int):
        self.dataset, self.items, self.views, self.seed = dataset, items, views, max(seed, 0)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        image = read_image(self.items[index].impath)
        first = ((self.seed * 1_000_003 + index) * self.views) % 2**32
        return torch.stack([self.dataset.augment(image, (first + v) % 2**32)["img"] for v in range(self.views)])


class FeatureViews(Dataset):
    """Items of a training set with a stored feature in place of the image.

    The sampler's per-item seed picks the view, so batches depend on the run's seed alone.
    """

    def __init__(self, data_source: list, features: Tensor):
        self.data_source, self.features = data_source, features  # features (N, V, E)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, index: int) -> dict:
        item = self.data_source[index]
        view = getattr(index, "seed", 0) % self.features.shape[1]
        return {
            "feature": self.features[index, view],
            "label": item.label,
            "domain": item.domain,
            "impath": item.impath,
            "index": int(index),
        }


def feature_view_loader(
    loader: DataLoader, views: int, encode: Callable[[Tensor], Tensor], key: str, seed: int, folder: Path
) -> DataLoader:
    """A loader like `loader` (same sampler, batch size, drop rule) that brings features of K stored views.

    Views are stored domain by domain, so that runs on one domain and on several share them.

    Args:
        loader: the training loader of images.
        views: K >= 1 augmented views per image.
        encode: images (B, 3, S, S) -> features (B, E).
        key: what features depend on besides image files and augmentation seed.
    """
    items = loader.dataset.data_source
    features: Tensor | None = None
    for domain in sorted({item.domain for item in items}):
        rows = [i for i, item in enumerate(items) if item.domain == domain]
        part = _stored_views(loader, [items[i] for i in rows], views, encode, key, seed, folder)
        features = part.new_empty(len(items), *part.shape[1:]) if features is None else features
        features[rows] = part
    return DataLoader(
        FeatureViews(items, features), batch_size=loader.batch_size, sampler=loader.sampler, drop_last=loader.drop_last
    )


def _stored_views(loader: DataLoader, items: list, views: int, encode, key: str, seed: int, folder: Path) -> Tensor:
    """Features (N, K, E) of the items of one domain, from the cache or computed now."""

    def compute() -> dict[str, Tensor]:
        pool = _Views(loader.dataset, items, views, seed)
        batches = DataLoader(pool, max(1, 256 // views), num_workers=loader.num_workers)
        return {
            "features": torch.cat([encode(images.flatten(0, 1)).cpu().unflatten(0, (-1, views)) for images in batches])
        }

    name = image_set_key([(item.impath, item.label) for item in items], f"{key}-{views}-{seed}")
    return stored(folder / f"views{views}-{name}.safetensors", compute)["features"]
