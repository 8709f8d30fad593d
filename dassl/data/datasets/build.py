"""Datasets by name."""

import logging

from yacs.config import CfgNode

from ...utils.errors import UserError
from ...utils.registry import Registry
from .base_dataset import DatasetBase

log = logging.getLogger(__name__)

__all__ = ["DATASET_REGISTRY", "build_dataset"]

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: CfgNode) -> DatasetBase:
    """Build the dataset called ``cfg.DATASET.NAME``.

    Raises:
        UserError: no name given, or nothing registered under it.
    """
    if not cfg.DATASET.NAME:
        raise UserError(
            "DATASET.NAME is empty: give a --dataset-config-file or DATASET.NAME "
            f"(known: {', '.join(DATASET_REGISTRY.registered_names())})"
        )
    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    if cfg.VERBOSE:
        log.info(f"Loading dataset: {cfg.DATASET.NAME}")
    return dataset(cfg)
