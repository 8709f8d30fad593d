"""The table of all classes that the renderer can draw."""

from collections.abc import Callable

import numpy as np

from . import shapes_base, shapes_extra, shapes_new
from .geometry import Part

BASE_CLASSES = ("apple", "bicycle", "bird", "boat", "butterfly", "car", "chair", "clock", "cup", "fish")
NEW_CLASSES = ("flower", "guitar", "house", "key", "ladder", "lamp", "mushroom", "star", "tree", "umbrella")
EXTRA_CLASSES = (
    "hat",
    "bottle",
    "book",
    "heart",
    "moon",
    "rocket",
    "hammer",
    "cat",
    "table",
    "flag",
    "balloon",
    "sword",
)

SHAPES: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    name: getattr(module, name)
    for module, names in ((shapes_base, BASE_CLASSES), (shapes_new, NEW_CLASSES), (shapes_extra, EXTRA_CLASSES))
    for name in names
}
