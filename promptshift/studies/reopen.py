"""A finished run with its model and its images, for what its record does not hold."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from dassl.engine import TrainerX, build_trainer
from dassl.talk import quiet
from dassl.utils import set_random_seed
from dassl.utils.errors import UserError
from promptshift.modeling.features import cached_features
from promptshift.runs.run import deployed_epoch
from promptshift.runs.stored_config import read_config, with_later_keys


def reopen(folder: Path, trained: Path | None = None) -> TrainerX:
    """Returns the trainer of a finished run with its data and the weights that the run tested, in eval mode.

    Args:
        folder: the run's.
        trained: the run whose weights it evaluated, itself when None.

    Raises:
        UserError: the run's configuration or its images are not there.
    """
    cfg = with_later_keys(read_config(folder / "config.yaml"))
    cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS = 0  # nothing is trained
    cfg.freeze()
    set_random_seed(max(cfg.SEED, 0))
    with quiet():  # a trainer talks while it is built
        trainer = build_trainer(cfg)
        trainer.load_model(str(trained or folder), epoch=deployed_epoch(trainer, trained or folder))
    trainer.set_model_mode("eval")
    return trainer


def test_features(trainer: TrainerX) -> tuple[Tensor, Tensor, Tensor]:
    """Returns frozen features (N, E), labels (N,) and domain indices (N,) of the test images.

    Raises:
        UserError: the trainer's image tower is not frozen.
    """
    return split_features(trainer, trainer.test_loader)


def split_features(trainer: TrainerX, loader) -> tuple[Tensor, Tensor, Tensor]:
    """Returns frozen features (N, E), labels (N,) and domain indices (N,) of the images of a test-style loader.

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
    """Returns function(features) on the CPU, computed batch by batch."""
    size = trainer.cfg.DATALOADER.TEST.BATCH_SIZE
    return torch.cat([function(part.to(trainer.device)).cpu() for part in features.split(size)])
