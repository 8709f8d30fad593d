"""The embedded mini world: rendered domain-generalization images and a CLIP small enough to ship.

It exercises code and shows methods moving; it ranks nothing (README.md says what is planted).
"""

from .rendering import render_world
from .weights import MINI_SHA256, load_mini, load_mini_state_dict, mini_config
from .world import MINI_DG, WorldSpec, render_image

__all__ = [
    "MINI_DG",
    "MINI_SHA256",
    "WorldSpec",
    "load_mini",
    "load_mini_state_dict",
    "mini_config",
    "render_image",
    "render_world",
]
