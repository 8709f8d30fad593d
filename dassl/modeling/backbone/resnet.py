"""torchvision's ResNets (arXiv 1512.03385) without their classifier."""

import torch
from torch import nn

from .build import BACKBONE_REGISTRY

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """Pooled features of a torchvision ResNet; ``pretrained`` fetches its ImageNet weights.

    Shapes: images (B, 3, H, W) -> features (B, out_features).
    """

    def __init__(self, name: str, pretrained: bool = True) -> None:
        super().__init__()
        import torchvision  # takes a second to import: only where it is used

        weights = "IMAGENET1K_V1" if pretrained else None  # the weights that upstream starts from
        self.net = torchvision.models.get_model(name, weights=weights)
        self.out_features = self.net.fc.in_features
        self.net.fc = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features (B, out_features)."""
        return self.net(x)


@BACKBONE_REGISTRY.register()
def resnet18(pretrained: bool = True, **kwargs: object) -> ResNet:
    """ResNet-18."""
    return ResNet("resnet18", pretrained)


@BACKBONE_REGISTRY.register()
def resnet34(pretrained: bool = True, **kwargs: object) -> ResNet:
    """ResNet-34."""
    return ResNet("resnet34", pretrained)


@BACKBONE_REGISTRY.register()
def resnet50(pretrained: bool = True, **kwargs: object) -> ResNet:
    """ResNet-50."""
    return ResNet("resnet50", pretrained)


@BACKBONE_REGISTRY.register()
def resnet101(pretrained: bool = True, **kwargs: object) -> ResNet:
    """ResNet-101."""
    return ResNet("resnet101", pretrained)


@BACKBONE_REGISTRY.register()
def resnet152(pretrained: bool = True, **kwargs: object) -> ResNet:
    """ResNet-152."""
    return ResNet("resnet152", pretrained)
