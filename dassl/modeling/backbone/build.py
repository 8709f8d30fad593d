"""Backbones by name."""

import logging
from typing import Any

from torch import nn

from ...utils.registry import Registry

log = logging.getLogger(__name__)

__all__ = ["BACKBONE_REGISTRY", "build_backbone"]

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a backbone; its ``out_features`` is the width of what it returns.

    Raises:
        UserError: an unknown name.
    """
    if verbose:
        log.info(f"Backbone: {name}")
    return BACKBONE_REGISTRY.get(name)(**kwargs)
