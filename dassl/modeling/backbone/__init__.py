"""Backbones: images to feature vectors."""

from .build import BACKBONE_REGISTRY, build_backbone
from .resnet import ResNet

__all__ = ["BACKBONE_REGISTRY", "ResNet", "build_backbone"]
