"""The transforms that INPUT.TRANSFORMS can name, and their fixed order.

The learned and random augmentation policies are torchvision's. ``randaugment_fixmatch`` and ``randaugment2`` draw a
random magnitude per operation from torchvision's TrivialAugment list; their list of operations differs slightly from
upstream's. torchvision takes a second to import, so only the functions that use it do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from yacs.config import CfgNode

from ...utils.errors import UserError, suggest

if TYPE_CHECKING:
    from torchvision.transforms import InterpolationMode

    INTERPOLATION_MODES: dict[str, InterpolationMode]

log = logging.getLogger(__name__)

__all__ = [
    "AVAI_CHOICES",
    "INTERPOLATION_MODES",
    "Cutout",
    "GaussianNoise",
    "InstanceNormalization",
    "Random2DTranslation",
    "build_transform",
]

AVAI_CHOICES = [
    "random_flip",
    "random_resized_crop",
    "normalize",
    "instance_norm",
    "random_crop",
    "random_translation",
    "center_crop",
    "cutout",
    "imagenet_policy",
    "cifar10_policy",
    "svhn_policy",
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
    "gaussian_noise",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
]

_MODES = ("bilinear", "bicubic", "nearest")


def __getattr__(name: str) -> object:
    """Make ``INTERPOLATION_MODES``, name -> torchvision's mode, when it is asked for."""
    if name != "INTERPOLATION_MODES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torchvision.transforms import InterpolationMode

    return {mode: InterpolationMode(mode) for mode in _MODES}


class Random2DTranslation(nn.Module):
    """With probability ``p``, enlarge by an eighth and cut out a random ``height x width`` window; else resize.

    Args:
        height, width: of the result.
        p: as above.
        interpolation: of resizing, bilinear when None.
    """

    def __init__(self, height: int, width: int, p: float = 0.5, interpolation: InterpolationMode | None = None) -> None:
        from torchvision.transforms import InterpolationMode

        super().__init__()
        self.size = [height, width]
        self.p = p
        self.interpolation = interpolation or InterpolationMode.BILINEAR

    def forward(self, img):  # noqa: ANN001, ANN201 - PIL image or tensor in, the same out
        """Return the moved (or merely resized) image."""
        from torchvision.transforms import functional as F

        if torch.rand(()).item() > self.p:
            return F.resize(img, self.size, self.interpolation)
        larger = [round(side * 1.125) for side in self.size]
        top, left = (torch.randint(big - small + 1, ()).item() for big, small in zip(larger, self.size, strict=True))
        return F.crop(F.resize(img, larger, self.interpolation), top, left, *self.size)


class Cutout(nn.Module):
    """Black out ``n_holes`` squares of side ``length``, clipped at the border (arXiv 1708.04552)."""

    def __init__(self, n_holes: int = 1, length: int = 16) -> None:
        super().__init__()
        self.n_holes = n_holes
        self.length = length

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        """Return a copy of ``img`` (C, H, W) with the squares set to 0."""
        height, width = img.shape[-2:]
        out = img.clone()
        for _ in range(self.n_holes):
            y, x = torch.randint(height, ()).item(), torch.randint(width, ()).item()
            top, left = y - self.length // 2, x - self.length // 2
            out[..., max(top, 0) : max(top + self.length, 0), max(left, 0) : max(left + self.length, 0)] = 0
        return out


class GaussianNoise(nn.Module):
    """With probability ``p``, add noise of the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, std: float = 0.15, p: float = 0.5) -> None:
        super().__init__()
        self.mean = mean
        self.std = std
        self.p = p

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        """Return the noisy (or untouched) image."""
        if torch.rand(()).item() > self.p:
            return img
        return img + torch.randn(img.shape) * self.std + self.mean


class InstanceNormalization(nn.Module):
    """Give every channel of an image (C, H, W) mean 0 and standard deviation 1."""

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        """Return the normalised image."""
        flat = img.flatten(1)
        mean, std = flat.mean(1)[:, None, None], flat.std(1)[:, None, None]
        return (img - mean) / (std + self.eps)


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Callable | None:
    """Build the transform from a PIL image to a tensor (3, H, W), float32.

    Args:
        cfg: reads ``INPUT.*``.
        is_train: for testing, only resizing, centre crop and the normalisations apply.
        choices: names from :data:`AVAI_CHOICES`; None takes ``INPUT.TRANSFORMS``.

    Returns:
        The transform, or None for ``INPUT.NO_TRANSFORM``.

    Raises:
        UserError: an unknown transform or interpolation.
    """
    from torchvision import transforms as T

    if cfg.INPUT.NO_TRANSFORM:
        log.info("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        if choice not in AVAI_CHOICES:
            raise UserError(
                f"INPUT.TRANSFORMS: unknown transform {choice!r}{suggest(choice, AVAI_CHOICES)} "
                f"(allowed: {', '.join(AVAI_CHOICES)})"
            )
    interpolation = interpolation_mode(cfg)
    steps = _train_steps(cfg, interpolation) if is_train else _test_steps(cfg, interpolation)
    chosen = [step() for name, step in steps if name is None or name in choices]
    return T.Compose(chosen)


def interpolation_mode(cfg: CfgNode) -> InterpolationMode:
    """Read ``INPUT.INTERPOLATION``.

    Raises:
        UserError: an unknown name.
    """
    from torchvision.transforms import InterpolationMode

    name = cfg.INPUT.INTERPOLATION
    if name not in _MODES:
        raise UserError(
            f"INPUT.INTERPOLATION {name!r} is unknown{suggest(name, _MODES)} (allowed: {', '.join(_MODES)})"
        )
    return InterpolationMode(name)


Steps = list[tuple[str | None, Callable]]


def _train_steps(cfg: CfgNode, interpolation: InterpolationMode) -> Steps:
    """(name, maker) in the order of application; a step without a name always applies."""
    from torchvision import transforms as T

    c, size = cfg.INPUT, list(cfg.INPUT.SIZE)
    crops = {"random_crop", "random_resized_crop"} & set(c.TRANSFORMS)
    steps: Steps = [] if crops else [(None, lambda: T.Resize(size, interpolation))]
    trivial = lambda: T.TrivialAugmentWide(interpolation=T.InterpolationMode.BILINEAR)  # noqa: E731
    return [
        *steps,
        ("random_translation", lambda: Random2DTranslation(*size, interpolation=interpolation)),
        ("random_crop", lambda: T.RandomCrop(size, padding=c.CROP_PADDING)),
        ("random_resized_crop", lambda: T.RandomResizedCrop(size, scale=c.RRCROP_SCALE, interpolation=interpolation)),
        ("center_crop", lambda: T.CenterCrop(size)),
        ("random_flip", T.RandomHorizontalFlip),
        ("imagenet_policy", lambda: T.AutoAugment(T.AutoAugmentPolicy.IMAGENET)),
        ("cifar10_policy", lambda: T.AutoAugment(T.AutoAugmentPolicy.CIFAR10)),
        ("svhn_policy", lambda: T.AutoAugment(T.AutoAugmentPolicy.SVHN)),
        ("randaugment", lambda: T.RandAugment(c.RANDAUGMENT_N, c.RANDAUGMENT_M)),
        ("randaugment_fixmatch", lambda: T.Compose([trivial() for _ in range(c.RANDAUGMENT_N)])),
        ("randaugment2", lambda: T.Compose([T.RandomApply([trivial()], 0.6) for _ in range(c.RANDAUGMENT_N)])),
        ("colorjitter", lambda: T.ColorJitter(c.COLORJITTER_B, c.COLORJITTER_C, c.COLORJITTER_S, c.COLORJITTER_H)),
        ("randomgrayscale", lambda: T.RandomGrayscale(c.RGS_P)),
        ("gaussian_blur", lambda: T.RandomApply([T.GaussianBlur(c.GB_K, (0.1, 2.0))], c.GB_P)),
        (None, T.ToTensor),
        ("cutout", lambda: Cutout(c.CUTOUT_N, c.CUTOUT_LEN)),
        ("normalize", lambda: T.Normalize(c.PIXEL_MEAN, c.PIXEL_STD)),
        ("gaussian_noise", lambda: GaussianNoise(c.GN_MEAN, c.GN_STD)),
        ("instance_norm", InstanceNormalization),
    ]


def _test_steps(cfg: CfgNode, interpolation: InterpolationMode) -> Steps:
    from torchvision import transforms as T

    c, size = cfg.INPUT, list(cfg.INPUT.SIZE)
    return [
        (None, lambda: T.Resize(max(size), interpolation)),  # the shorter side
        (None, lambda: T.CenterCrop(size)),
        (None, T.ToTensor),
        ("normalize", lambda: T.Normalize(c.PIXEL_MEAN, c.PIXEL_STD)),
        ("instance_norm", InstanceNormalization),
    ]
