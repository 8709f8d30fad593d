"""Networks by name."""

from typing import Any

from torch import nn

from ...utils.registry import Registry

__all__ = ["NETWORK_REGISTRY", "build_network"]

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs: Any) -> nn.Module:
    """Build a network that a trainer's file registered.

    Raises:
        UserError: an unknown name.
    """
    if verbose:
        print(f"Network: {name}")
    return NETWORK_REGISTRY.get(name)(**kwargs)
