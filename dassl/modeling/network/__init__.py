"""Networks from images to images, e.g. generators of domains; trainers bring and register their own."""

from .build import NETWORK_REGISTRY, build_network

__all__ = ["NETWORK_REGISTRY", "build_network"]
