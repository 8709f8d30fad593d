"""Views of one test image: the clean one and random ones, and which of them are confident."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


class ViewTransform:
    """PIL image -> views (V, 3, S, S): first the clean one, then V - 1 random ones.

    A random view is a random resized crop (torchvision's bilinear one, as the released TPT and PromptAlign cut it) and
    a flip with probability 1/2; with `augmix` it is then mixed with its augmented copies (`AugMix`). Draws from the
    global generators of torch, numpy and `random`, which the caller seeds for each image.

    Args:
        clean: PIL image -> (3, S, S), the transform of an ordinary test, which leaves the size of an S x S image alone.
        size: (S, S) in pixels.
        views: V, at least 1.
        scale: smallest and largest share of the image's area that a crop takes, in (0, 1].
        augmix: mix each crop as TPT does for its fine-grained datasets.
    """

    def __init__(
        self,
        clean: Callable,
        size: Sequence[int],
        views: int,
        scale: Sequence[float] = (0.08, 1.0),
        augmix: bool = False,
    ):
        from torchvision import transforms as T  # takes a second to import: only where it is used

        self.clean, self.views = clean, views
        self.crop = T.Compose([T.RandomResizedCrop(list(size), scale=tuple(scale)), T.RandomHorizontalFlip()])
        self.finish = AugMix(clean) if augmix else clean

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.stack([self.clean(image), *(self.finish(self.crop(image)) for _ in range(self.views - 1))])


class AugMix:
    """PIL image -> normalised tensor mixed with three chains of augmentations (AugMix, arXiv 1912.02781, section 3).

    m * x + (1 - m) * sum_i w_i chain_i(x), w ~ Dirichlet(1, 1, 1), m ~ Beta(1, 1); a chain is one to three operations
    drawn with replacement, each of a strength drawn from U(0.1, severity) tenths of its range. The mix is of
    normalised tensors.

    Args:
        to_tensor: PIL image -> (3, S, S).
        severity: 1 (TPT's) to 10.
    """

    def __init__(self, to_tensor: Callable, severity: float = 1.0, width: int = 3):
        self.to_tensor, self.severity, self.width = to_tensor, severity, width

    def __call__(self, image: Image.Image) -> Tensor:
        weights, share = np.random.dirichlet([1.0] * self.width), float(np.random.beta(1.0, 1.0))
        mixed = sum(float(weight) * self.to_tensor(self._chain(image)) for weight in weights)
        return share * self.to_tensor(image) + (1 - share) * mixed

    def _chain(self, image: Image.Image) -> Image.Image:
        for operation in random.choices(_OPERATIONS, k=random.randint(1, 3)):
            image = operation(image, random.uniform(0.1, self.severity) / 10)
        return image


def _signed(value: float) -> float:
    return value if random.random() < 0.5 else -value


def _affine(image: Image.Image, matrix: tuple) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


# name of the operation in AugMix -> (image, strength in [0, 1]) -> image; ranges are those of the paper's release
_OPERATIONS: list[Callable[[Image.Image, float], Image.Image]] = [
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, s: ImageOps.posterize(image, 4 - int(4 * s)),
    lambda image, s: image.rotate(_signed(int(30 * s)), resample=Image.Resampling.BILINEAR),
    lambda image, s: ImageOps.solarize(image, 256 - int(256 * s)),
    lambda image, s: _affine(image, (1, _signed(0.3 * s), 0, 0, 1, 0)),  # shear x
    lambda image, s: _affine(image, (1, 0, 0, _signed(0.3 * s), 1, 0)),  # shear y
    lambda image, s: _affine(image, (1, 0, _signed(int(image.width / 3 * s)), 0, 1, 0)),  # translate x
    lambda image, s: _affine(image, (1, 0, 0, 0, 1, _signed(int(image.height / 3 * s)))),  # translate y
]


def most_confident(entropies: Tensor, count: int) -> Tensor:
    """Entropies (N, V) -> indices (N, count) of each image's views of lowest entropy, the lowest first."""
    return entropies.sort(dim=1, stable=True).indices[:, :count]


def take_views(values: Tensor, kept: Tensor) -> Tensor:
    """Values (N, V, ...) and indices (N, n) of views -> (N, n, ...)."""
    index = kept.view(*kept.shape, *[1] * (values.dim() - 2)).expand(*kept.shape, *values.shape[2:])
    return values.gather(1, index)
