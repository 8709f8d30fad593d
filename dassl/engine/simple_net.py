"""The plain network of trainers that bring no model of their own."""

from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from ..modeling import build_backbone, build_head

__all__ = ["SimpleNet"]


class SimpleNet(nn.Module):
    """Backbone, optional head, linear classifier: images (B, 3, H, W) -> scores (B, K)."""

    def __init__(self, cfg: CfgNode, model_cfg: CfgNode, num_classes: int, **kwargs: Any) -> None:
        super().__init__()
        self.backbone = build_backbone(
            model_cfg.BACKBONE.NAME, verbose=cfg.VERBOSE, pretrained=model_cfg.BACKBONE.PRETRAINED, **kwargs
        )
        fdim = self.backbone.out_features
        self.head = None
        if model_cfg.HEAD.NAME and model_cfg.HEAD.HIDDEN_LAYERS:
            self.head = build_head(
                model_cfg.HEAD.NAME,
                verbose=cfg.VERBOSE,
                in_features=fdim,
                hidden_layers=model_cfg.HEAD.HIDDEN_LAYERS,
                activation=model_cfg.HEAD.ACTIVATION,
                bn=model_cfg.HEAD.BN,
                dropout=model_cfg.HEAD.DROPOUT,
                **kwargs,
            )
            fdim = self.head.out_features
        self.classifier = nn.Linear(fdim, num_classes) if num_classes > 0 else None
        self._fdim = fdim

    @property
    def fdim(self) -> int:
        """Width of the features."""
        return self._fdim

    def forward(self, x: torch.Tensor, return_feature: bool = False) -> Any:
        """Return scores (B, K), with the features (B, fdim) beside them on request; features without classifier."""
        feature = self.backbone(x)
        if self.head is not None:
            feature = self.head(feature)
        if self.classifier is None:
            return feature
        scores = self.classifier(feature)
        return (scores, feature) if return_feature else scores
