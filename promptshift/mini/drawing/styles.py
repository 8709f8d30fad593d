"""The table of styles: a domain of a world is one row, a new domain is a new row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from . import painting as p
from .scene import SIZE, Scene


@dataclass(frozen=True)
class Style:
    """How scenes become pictures.

    Attributes:
        background: (rng, scene) -> canvas.
        paint: (rng, canvas, inks), draws one object.
        occlude: (rng, canvas, scene), draws the occluder.
        canvas_effects: (rng, canvas) -> canvas, in order.
        array_effects: (rng, array) -> array after the reduction to the final size, in order.
    """

    background: Callable
    paint: Callable
    occlude: Callable = p.cover
    canvas_effects: tuple[Callable, ...] = ()
    array_effects: tuple[Callable, ...] = ()


def _photo(blur: tuple[float, float], grain: tuple[float, float]) -> Style:
    return Style(
        partial(p.soft_background, noise=16, blobs=4),
        p.paint_shaded,
        p.cover,
        (partial(p.blur, radius=blur),),
        (partial(p.light_ramp, strength=0.18), partial(p.grain, sigma=grain)),
    )


def _cartoon(pen: tuple[float, float]) -> Style:
    return Style(
        partial(p.flat_background, dots=0.35, recolour=p.saturate),
        partial(p.paint_outlined, width=pen),
        p.cover_outlined,
    )


def _pencil(paper: tuple[int, int], pen: tuple[int, int]) -> Style:
    return Style(
        partial(p.paper_background, tone=paper, noise=5),
        partial(p.paint_pencil, tone=pen),
        p.erase,
        (partial(p.stray_lines, most=3),),
        (partial(p.grain, sigma=(3, 8)),),
    )


STYLES: dict[str, Style] = {
    "photo": _photo(blur=(0.3, 1.3), grain=(4, 10)),
    "art_painting": Style(
        partial(p.flat_background, dots=0.0),
        p.paint_flat,
        p.cover,
        (partial(p.brush_strokes, count=(150, 261)), partial(p.posterise, bits=3)),
        (partial(p.tint, gain=(1.08, 1.0, 0.86), spread=0.05), partial(p.weave, strength=9)),
    ),
    "cartoon": _cartoon(pen=(2.5, 4)),
    "sketch": _pencil(paper=(226, 246), pen=(50, 105)),
    # Seen in pretraining only.
    "silhouette": Style(
        partial(p.flat_background, dots=0.0, recolour=p.dilute), partial(p.paint_flat, recolour=p.blacken)
    ),
    "clipart": Style(partial(p.flat_background, dots=0.1), p.paint_flat),
    "watercolor": Style(
        partial(p.paper_background, tone=(232, 250), noise=8),
        partial(p.paint_flat, recolour=p.dilute),
        p.cover,
        (partial(p.blur, radius=(1.0, 2.2)), partial(p.blotches, strength=0.5)),
        (partial(p.grain, sigma=(1, 4)),),
    ),
    "photo_wide": _photo(blur=(0.3, 2.2), grain=(2, 14)),
    "cartoon_thin": _cartoon(pen=(1, 3)),
    "chalk": _pencil(paper=(52, 84), pen=(190, 235)),
}


def paint_scene(rng: np.random.Generator, scene: Scene, style: Style) -> np.ndarray:
    """Draw a scene: uint8 array (SIZE, SIZE, 3)."""
    canvas = style.background(rng, scene)
    for inks in scene.objects:
        style.paint(rng, canvas, inks)
    if scene.occluder is not None:
        style.occlude(rng, canvas, scene)
    for effect in style.canvas_effects:
        canvas = effect(rng, canvas)
    array = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64)
    for effect in style.array_effects:
        array = effect(rng, array)
    return np.clip(np.round(array), 0, 255).astype(np.uint8)
