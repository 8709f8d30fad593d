"""Trainers by name."""

from typing import Any

from yacs.config import CfgNode

from ..config import OPTIONS, check_values
from ..utils.errors import UserError
from ..utils.registry import Registry

__all__ = ["TRAINER_REGISTRY", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: CfgNode) -> Any:
    """Build the trainer called ``cfg.TRAINER.NAME``.

    Raises:
        UserError: no name given, nothing registered under it, or a value that its key does not allow.
    """
    if not cfg.TRAINER.NAME:
        raise UserError(
            f"TRAINER.NAME is empty: give --trainer (known: {', '.join(TRAINER_REGISTRY.registered_names())})"
        )
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    check_values(cfg, OPTIONS)
    if cfg.VERBOSE:
        print(f"Loading trainer: {cfg.TRAINER.NAME}")
    return trainer(cfg)
