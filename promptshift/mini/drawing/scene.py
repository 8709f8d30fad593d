"""What stands in an image: one main object, perhaps a distractor and an occluder, their colours and the background.

A scene is drawn by a style (`styles.py`) and described by captions (`captions.py`). Coordinates are canvas pixels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .geometry import box, ellipse, make_pose
from .shapes import SHAPES

CANVAS = 96  # drawn at twice the final size
SIZE = 48

# Objects are darker than every background: this is what lets a small model find them (polarity is never ambiguous).
COLOURS = {
    "red": (190, 30, 42),
    "orange": (208, 96, 12),
    "brown": (112, 66, 32),
    "green": (28, 112, 46),
    "teal": (16, 112, 118),
    "blue": (30, 62, 182),
    "purple": (104, 40, 146),
    "pink": (204, 52, 124),
    "gray": (88, 88, 94),
    "black": (30, 28, 33),
}
BACKGROUNDS = {  # name: (sky, ground)
    "grass": ((206, 226, 240), (178, 216, 150)),
    "sand": ((214, 232, 240), (238, 220, 170)),
    "water": ((214, 226, 236), (158, 206, 234)),
    "night": ((176, 172, 208), (196, 190, 214)),
    "snow": ((206, 212, 224), (246, 248, 250)),
    "wall": ((236, 206, 190), (222, 184, 168)),
}


@dataclass(frozen=True)
class RenderSettings:
    """How crowded and how varied the images of a world are.

    Attributes:
        distractor_p: probability of a second, smaller object of another class.
        occluder_p: probability of a bar or bubble in front of the object.
        main_scale: range of the object's half size over the image's half size.
        distractor_scale: the same for the distractor.
        shift: largest displacement of the object over the image size.
        rotation: standard deviation in radians.
        shear: standard deviation of the shear factor.
        aspect: standard deviation of the logarithm of the aspect change.
    """

    distractor_p: float = 0.75
    occluder_p: float = 0.5
    main_scale: tuple[float, float] = (0.6, 0.9)
    distractor_scale: tuple[float, float] = (0.32, 0.5)
    shift: float = 0.05
    rotation: float = 0.12
    shear: float = 0.08
    aspect: float = 0.08


class Ink(NamedTuple):
    """One part of an object on the canvas: `points` (n, 2), RGB `colour`, `width` 0 = filled polygon, colour `role`."""

    points: np.ndarray
    colour: tuple[int, int, int]
    width: float
    role: int


@dataclass(frozen=True)
class Scene:
    """A sampled scene.

    Attributes:
        classname: class of the main object.
        colour: name of its colour.
        background: name of the background.
        distractor: class of the second object, or None.
        big: whether the main object fills most of the image.
        objects: the objects back to front, each a list of `Ink`.
        occluder: polygon (n, 2) in front of everything, or None.
        occluder_colour: its RGB.
        sky: RGB of the upper background.
        ground: RGB of the lower background.
        horizon: row where they meet.
    """

    classname: str
    colour: str
    background: str
    distractor: str | None
    big: bool
    objects: list[list[Ink]]
    occluder: np.ndarray | None
    occluder_colour: tuple[int, int, int]
    sky: tuple[int, int, int]
    ground: tuple[int, int, int]
    horizon: float


def jitter(rng: np.random.Generator, colour, spread: float) -> tuple[int, int, int]:
    """Colour with a uniform disturbance of +-`spread` per channel, clipped to 0..255."""
    return tuple(int(c) for c in np.clip(np.asarray(colour) + rng.uniform(-spread, spread, 3), 0, 255))


def _draw_object(
    rng: np.random.Generator, classname: str, colour: str, scale: float, centre, settings: RenderSettings
) -> list[Ink]:
    others = [name for name in COLOURS if name not in (colour, "black")]
    palette = (
        jitter(rng, COLOURS[colour], 14),
        jitter(rng, COLOURS[others[rng.integers(len(others))]], 14),
        jitter(rng, (232, 226, 206), 16),
        jitter(rng, (46, 42, 44), 10),
    )
    turn, shear, aspect = rng.normal(size=3) * (settings.rotation, settings.shear, settings.aspect)
    pose = make_pose(scale, turn, shear, aspect, rng.random() < 0.5, centre)
    return [
        Ink(pose.apply(part.points), palette[part.role], part.width * pose.unit, part.role)
        for part in SHAPES[classname](rng)
    ]


def _sample_occluder(rng: np.random.Generator) -> np.ndarray:
    x, y = CANVAS * rng.uniform(0.25, 0.75, 2)
    if rng.random() < 0.5:
        half, lean = rng.uniform(5, 9), rng.uniform(-9, 9)
        return box(x - half, 0, x + half, CANVAS) + np.array([(lean, 0), (lean, 0), (-lean, 0), (-lean, 0)])
    return ellipse(x, y, rng.uniform(9, 15), rng.uniform(7, 11))


def sample_scene(
    rng: np.random.Generator, classname: str, distractors: tuple[str, ...], settings: RenderSettings
) -> Scene:
    """Sample a scene around one object.

    Args:
        rng: the image's own stream; every draw of the image comes from it.
        classname: class of the main object, a key of `SHAPES`.
        distractors: classes a distractor may have (the main class is left out).
        settings: ranges and probabilities.
    """
    colour = list(COLOURS)[rng.integers(len(COLOURS))]
    background = list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    scale = rng.uniform(*settings.main_scale)
    centre = CANVAS * (0.5 + rng.uniform(-settings.shift, settings.shift, 2))
    objects = [_draw_object(rng, classname, colour, scale * CANVAS / 2, centre, settings)]
    distractor = None
    if rng.random() < settings.distractor_p:
        choices = [name for name in distractors if name != classname]
        distractor = choices[rng.integers(len(choices))]
        small = rng.uniform(*settings.distractor_scale) * CANVAS / 2
        corner = np.where(rng.random(2) < 0.5, small * 0.9, CANVAS - small * 0.9)
        second = _draw_object(rng, distractor, list(COLOURS)[rng.integers(len(COLOURS))], small, corner, settings)
        objects.insert(1 if rng.random() < 0.35 else 0, second)
    sky, ground = BACKGROUNDS[background]
    return Scene(
        classname=classname,
        colour=colour,
        background=background,
        distractor=distractor,
        big=scale > settings.main_scale[0] + 0.7 * (settings.main_scale[1] - settings.main_scale[0]),
        objects=objects,
        occluder=_sample_occluder(rng) if rng.random() < settings.occluder_p else None,
        occluder_colour=jitter(rng, (190, 190, 190), 65),
        sky=jitter(rng, sky, 12),
        ground=jitter(rng, ground, 12),
        horizon=CANVAS * rng.uniform(0.5, 0.75),
    )
