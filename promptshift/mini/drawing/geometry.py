"""Plane geometry of the mini world: points, parts of an object, and the pose that puts an object into an image.

Legend: n points of a part; coordinates of an object lie in [-1, 1]^2 with y downwards.
"""

from typing import NamedTuple

import numpy as np

MAIN, SECOND, PALE, DARK = 0, 1, 2, 3  # colour roles of a part


class Part(NamedTuple):
    """One filled polygon (`width` 0) or one polyline (`width` > 0, in object units).

    Attributes:
        points: float array (n, 2).
        role: colour role, one of MAIN, SECOND, PALE, DARK.
        width: 0 for a filled polygon, else the thickness of the polyline.
    """

    points: np.ndarray
    role: int
    width: float = 0.0


def fill(points, role: int = MAIN) -> Part:
    """Filled polygon through `points` (n, 2)."""
    return Part(np.asarray(points, dtype=float), role)


def line(points, role: int = MAIN, width: float = 0.12) -> Part:
    """Polyline through `points` (n, 2) with the given thickness."""
    return Part(np.asarray(points, dtype=float), role, width)


def ellipse(
    cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 1.0, n: int = 22
) -> np.ndarray:
    """Points (n, 2) on an ellipse between the turns `start` and `stop` (0 = right, .25 = bottom, .5 = left)."""
    angle = 2 * np.pi * np.linspace(start, stop, n)
    return np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners (4, 2) of an axis-parallel rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def ring(cx: float, cy: float, rx: float, ry: float, role: int = MAIN, width: float = 0.12) -> Part:
    """Closed elliptic polyline."""
    return line(ellipse(cx, cy, rx, ry), role, width)


def star_points(n: int, outer: float, inner: float, phase: float = -0.25) -> np.ndarray:
    """Corners (2n, 2) of an n-pointed star; `phase` in turns."""
    angle = 2 * np.pi * (phase + np.arange(2 * n) / (2 * n))
    radius = np.where(np.arange(2 * n) % 2 == 0, outer, inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


class Pose(NamedTuple):
    """Affine map from object units to canvas pixels: `points @ matrix.T + shift`.

    Attributes:
        matrix: float array (2, 2).
        shift: float array (2,).
        unit: mean length in pixels of one object unit (scales line widths).
    """

    matrix: np.ndarray
    shift: np.ndarray
    unit: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Map points (n, 2) from object units to canvas pixels."""
        return points @ self.matrix.T + self.shift


def make_pose(scale: float, rotation: float, shear: float, aspect: float, flip: bool, centre) -> Pose:
    """Compose a pose.

    Args:
        scale: pixels per object unit before the aspect change.
        rotation: radians.
        shear: horizontal shear factor.
        aspect: logarithm of the width to height change.
        flip: mirror left and right.
        centre: canvas position (x, y) of the object's origin, in pixels.
    """
    c, s = np.cos(rotation), np.sin(rotation)
    stretch = np.array([[np.exp(aspect) * (-1 if flip else 1), 0], [0, np.exp(-aspect)]])
    matrix = scale * np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]]) @ stretch
    return Pose(matrix, np.asarray(centre, dtype=float), scale)
