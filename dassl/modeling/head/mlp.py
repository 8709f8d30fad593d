"""A multi-layer perceptron as a head."""

from collections.abc import Sequence

from torch import nn

from ...utils.errors import UserError
from .build import HEAD_REGISTRY

__all__ = ["MLP"]

_ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


class MLP(nn.Sequential):
    """Linear, batch norm, activation, dropout for each hidden layer: (B, in_features) -> (B, out_features).

    Raises:
        UserError: no hidden layer, or an unknown activation.
    """

    def __init__(
        self,
        in_features: int,
        hidden_layers: Sequence[int] | int,
        activation: str = "relu",
        bn: bool = True,
        dropout: float = 0.0,
    ) -> None:
        widths = [hidden_layers] if isinstance(hidden_layers, int) else list(hidden_layers)
        if not widths:
            raise UserError("MODEL.HEAD.HIDDEN_LAYERS is empty: the mlp head needs at least one width")
        if activation not in _ACTIVATIONS:
            raise UserError(f"MODEL.HEAD.ACTIVATION {activation!r} is not one of {', '.join(_ACTIVATIONS)}")
        layers: list[nn.Module] = []
        for before, width in zip([in_features, *widths], widths, strict=False):
            layers.append(nn.Linear(before, width))
            if bn:
                layers.append(nn.BatchNorm1d(width))
            layers.append(_ACTIVATIONS[activation](inplace=True))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)
        self.out_features = widths[-1]


@HEAD_REGISTRY.register()
def mlp(**kwargs: object) -> MLP:
    """The mlp head."""
    return MLP(**kwargs)
