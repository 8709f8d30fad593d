"""A world: which classes are drawn in which styles, and how; every image is a pure function of its address."""

import zlib
from dataclasses import dataclass

import numpy as np

from dassl.utils.errors import UserError, suggest

from .drawing.scene import RenderSettings, Scene, sample_scene
from .drawing.shapes import BASE_CLASSES, EXTRA_CLASSES, NEW_CLASSES, SHAPES
from .drawing.styles import STYLES, paint_scene

RENDERER_VERSION = 1  # raise it whenever the same address gives other pixels


def _check_known(key: str, names: tuple[str, ...], allowed) -> None:
    for name in names:
        if name not in allowed:
            raise UserError(
                f"WorldSpec.{key}: unknown {name!r}, allowed: {', '.join(allowed)} "
                f"(promptshift/mini){suggest(name, list(allowed))}"
            )


@dataclass(frozen=True)
class WorldSpec:
    """Everything that fixes the images of a world, apart from the seed.

    Attributes:
        name: enters every random stream, so two worlds never share an image.
        classes: main objects in label order, keys of `shapes.SHAPES`.
        domains: styles in domain order, keys of `styles.STYLES`; also the folder names.
        distractors: classes that the second object of a scene may have.
        settings: crowdedness and pose ranges.

    Raises:
        UserError: a class or domain is not in the tables.
    """

    name: str
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    distractors: tuple[str, ...] = tuple(SHAPES)
    settings: RenderSettings = RenderSettings()

    def __post_init__(self):
        _check_known("classes", self.classes, SHAPES)
        _check_known("distractors", self.distractors, SHAPES)
        _check_known("domains", self.domains, STYLES)


MINI_DG = WorldSpec("mini_dg", BASE_CLASSES + NEW_CLASSES, ("art_painting", "cartoon", "photo", "sketch"))

PRETRAIN = WorldSpec(
    "mini_pretrain",
    BASE_CLASSES + NEW_CLASSES + EXTRA_CLASSES,
    tuple(STYLES),
    settings=RenderSettings(
        distractor_p=0.45,
        occluder_p=0.15,
        main_scale=(0.58, 0.92),
        distractor_scale=(0.25, 0.42),
        shift=0.06,
        rotation=0.15,
    ),
)


def image_rng(spec: WorldSpec, domain: str, classname: str, index: int, seed: int) -> np.random.Generator:
    """The stream of one image: its address hashed by `np.random.SeedSequence`."""
    names = [zlib.crc32(text.encode()) for text in (spec.name, domain, classname)]
    return np.random.default_rng(np.random.SeedSequence([seed, *names, index]))


def render_image(spec: WorldSpec, domain: str, classname: str, index: int, seed: int = 0) -> tuple[np.ndarray, Scene]:
    """Draw one image.

    Args:
        spec: the world.
        domain: one of `spec.domains`.
        classname: one of `spec.classes`.
        index: number of the image within its class and domain, >= 0.
        seed: data seed, >= 0.

    Returns:
        uint8 array (48, 48, 3) and the scene it shows.
    """
    rng = image_rng(spec, domain, classname, index, seed)
    scene = sample_scene(rng, classname, spec.distractors, spec.settings)
    return paint_scene(rng, scene, STYLES[domain]), scene
