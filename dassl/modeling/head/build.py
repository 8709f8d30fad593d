"""Heads by name."""

import logging
from typing import Any

from torch import nn

from ...utils.registry import Registry

log = logging.getLogger(__name__)

__all__ = ["HEAD_REGISTRY", "build_head"]

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a head; its ``out_features`` is the width of what it returns.

    Raises:
        UserError: an unknown name.
    """
    if verbose:
        log.info(f"Head: {name}")
    return HEAD_REGISTRY.get(name)(**kwargs)
