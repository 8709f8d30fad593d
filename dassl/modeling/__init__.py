"""Plain image backbones and heads, for trainers that are not built on CLIP."""

from .backbone import BACKBONE_REGISTRY, build_backbone
from .head import HEAD_REGISTRY, build_head

__all__ = ["BACKBONE_REGISTRY", "HEAD_REGISTRY", "build_backbone", "build_head"]
