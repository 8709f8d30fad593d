"""Evaluators by name."""

import logging
from typing import Any

from yacs.config import CfgNode

from ..utils.registry import Registry

log = logging.getLogger(__name__)

__all__ = ["EVALUATOR_REGISTRY", "build_evaluator"]

EVALUATOR_REGISTRY = Registry("EVALUATOR")


def build_evaluator(cfg: CfgNode, **kwargs: Any) -> Any:
    """Build the evaluator called ``cfg.TEST.EVALUATOR``.

    Raises:
        UserError: an unknown name.
    """
    evaluator = EVALUATOR_REGISTRY.get(cfg.TEST.EVALUATOR)
    if cfg.VERBOSE:
        log.info(f"Loading evaluator: {cfg.TEST.EVALUATOR}")
    return evaluator(cfg, **kwargs)
