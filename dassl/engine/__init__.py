"""Trainers."""

from ..utils.on_demand import on_demand
from .build import TRAINER_REGISTRY, build_trainer

__getattr__ = on_demand(__name__, {"trainer": ("SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU")})

__all__ = [
    "TRAINER_REGISTRY",
    "SimpleNet",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "build_trainer",
]
