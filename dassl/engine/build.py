"""Trainers by name."""

from typing import Any

from yacs.config import CfgNode

from ..utils.errors import UserError
from ..utils.registry import Registry

__all__ = ["TRAINER_REGISTRY", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: CfgNode, name: str | None = None) -> Any:
    """Build the trainer called ``name``, or ``cfg.TRAINER.NAME`` without one.

    Raises:
        UserError: no name given, or nothing registered under it.
    """
    name = name or cfg.TRAINER.NAME
    if not name:
        raise UserError(
            f"TRAINER.NAME is empty: give --trainer (known: {', '.join(TRAINER_REGISTRY.registered_names())})"
        )
    trainer = TRAINER_REGISTRY.get(name)
    if cfg.VERBOSE:
        print(f"Loading trainer: {name}")
    return trainer(cfg)
