"""Trainers by name."""

import logging
from typing import Any

from yacs.config import CfgNode

from ..config import OPTIONS, check_values
from ..utils.errors import UserError
from ..utils.registry import Registry

log = logging.getLogger(__name__)

__all__ = ["TRAINER_REGISTRY", "build_trainer"]

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: CfgNode, data: Any = None, name: str | None = None) -> Any:
    """Build the trainer called ``name``, or ``cfg.TRAINER.NAME`` without one.

    Args:
        cfg: the configuration.
        data: a :class:`DataManager` or :class:`ClassNames` in place of the images that ``cfg`` names.

    Raises:
        UserError: no name given, nothing registered under it, a value that its key does not allow, or a trainer that
            does not take given data.
    """
    name = name or cfg.TRAINER.NAME
    if not name:
        raise UserError(
            f"TRAINER.NAME is empty: give --trainer (known: {', '.join(TRAINER_REGISTRY.registered_names())})"
        )
    trainer = TRAINER_REGISTRY.get(name)
    check_values(cfg, OPTIONS)
    if cfg.VERBOSE:
        log.info(f"Loading trainer: {name}")
    if data is None:
        return trainer(cfg)
    if not hasattr(trainer, "on"):
        raise UserError(f"TRAINER.NAME: {name} is no SimpleTrainer, so it cannot be built on given data")
    return trainer.on(cfg, data)
