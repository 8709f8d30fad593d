"""Optimizers and learning-rate schedules by configuration."""

from .lr_scheduler import ConstantWarmupScheduler, LinearWarmupScheduler, build_lr_scheduler, learning_rate
from .optimizer import build_optimizer

__all__ = [
    "ConstantWarmupScheduler",
    "LinearWarmupScheduler",
    "build_lr_scheduler",
    "build_optimizer",
    "learning_rate",
]
