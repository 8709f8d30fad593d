"""Frozen features of the images of a reopened run, for what its record does not hold."""

from __future__ import annotations

import torch
from torch import Tensor

from dassl.engine import TrainerX
from dassl.utils.errors import UserError
from promptshift.modeling.features import cached_features


def test_features(trainer: TrainerX) -> tuple[Tensor, Tensor, Tensor]:
    """Return frozen features (N, E), labels (N,) and domain indices (N,) of the test images.

    Raises:
        UserError: the trainer's image tower is not frozen.
    """
    return split_features(trainer, trainer.test_loader)


def split_features(trainer: TrainerX, loader) -> tuple[Tensor, Tensor, Tensor]:
    """Return frozen features (N, E), labels (N,) and domain indices (N,) of the images of a test-style loader.

    Raises:
        UserError: the trainer's image tower is not frozen.
    """
    if not getattr(trainer, "FROZEN_IMAGES", False):
        raise UserError(f"{type(trainer).__name__} has no frozen image features; take a trainer with a frozen tower")
    features, labels = cached_features(loader, trainer.encode_images, trainer.feature_key, trainer.feature_folder)
    domains = torch.tensor([item.domain for item in loader.dataset.data_source])
    return features, labels, domains


@torch.no_grad()
def in_batches(trainer: TrainerX, function, features: Tensor) -> Tensor:
    """Return function(features) on the CPU, computed batch by batch."""
    size = trainer.cfg.DATALOADER.TEST.BATCH_SIZE
    return torch.cat([function(part.to(trainer.device)).cpu() for part in features.split(size)])
