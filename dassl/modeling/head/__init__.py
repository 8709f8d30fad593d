"""Heads: features to features."""

from .build import HEAD_REGISTRY, build_head
from .mlp import MLP

__all__ = ["HEAD_REGISTRY", "MLP", "build_head"]
