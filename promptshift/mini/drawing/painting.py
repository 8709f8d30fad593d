"""The steps a style is made of: backgrounds, ways to paint an object, occluders, effects on the whole picture.

Legend: a canvas is a PIL image of `CANVAS` x `CANVAS` RGB pixels; an array is float (SIZE, SIZE, 3) in 0..255.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from .geometry import DARK, MAIN, PALE, ellipse
from .scene import CANVAS, SIZE, Ink, Scene, jitter

INK = (24, 22, 26)
Recolour = Callable[[tuple[int, int, int]], tuple[int, int, int]]


def _points(points: np.ndarray) -> list[tuple[float, float]]:
    return [tuple(p) for p in points.tolist()]


def _clip(colour) -> tuple[int, int, int]:
    return tuple(int(min(255, max(0, c))) for c in colour)


def saturate(colour) -> tuple[int, int, int]:
    """Push a colour away from its grey by 1.5."""
    grey = sum(colour) / 3
    return _clip(grey + 1.5 * (c - grey) for c in colour)


def dilute(colour) -> tuple[int, int, int]:
    """Mix a colour with a quarter of white."""
    return _clip(0.75 * c + 64 for c in colour)


def blacken(colour) -> tuple[int, int, int]:
    """Near-black, whatever the colour."""
    return INK


def unchanged(colour) -> tuple[int, int, int]:
    """The colour itself."""
    return colour


# ---- backgrounds: (rng, scene) -> canvas


def soft_background(rng: np.random.Generator, scene: Scene, noise: float, blobs: int) -> Image.Image:
    """Smooth sky-to-ground transition with low-frequency colour noise, up to `blobs` pale blobs and a cast shadow."""
    rows = 1 / (1 + np.exp((scene.horizon - np.linspace(0, CANVAS, 12)) / rng.uniform(3, 12)))
    small = np.array(scene.sky) + rows[:, None, None] * (np.array(scene.ground) - np.array(scene.sky))
    small = np.repeat(small, 12, axis=1) + np.kron(rng.normal(0, noise, (4, 4, 3)), np.ones((3, 3, 1)))
    canvas = Image.fromarray(np.clip(small, 0, 255).astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(blobs + 1)):
        x, y, r = *rng.uniform(0, CANVAS, 2), rng.uniform(4, 10)
        draw.polygon(_points(ellipse(x, y, r, r * rng.uniform(0.6, 1))), fill=jitter(rng, (205, 205, 205), 45))
    shadow = np.array(scene.ground) * rng.uniform(0.55, 0.75)
    draw.polygon(
        _points(ellipse(CANVAS / 2, CANVAS * rng.uniform(0.86, 0.93), CANVAS * 0.32, CANVAS * 0.06)), fill=_clip(shadow)
    )
    return canvas


def flat_background(rng: np.random.Generator, scene: Scene, dots: float, recolour: Recolour = unchanged) -> Image.Image:
    """Sky and ground as two flat areas, or (with probability `dots`) one area with a grid of dots."""
    canvas = Image.new("RGB", (CANVAS, CANVAS), recolour(scene.sky))
    draw = ImageDraw.Draw(canvas)
    if rng.random() >= dots:
        draw.rectangle((0, scene.horizon, CANVAS, CANVAS), fill=recolour(scene.ground))
        return canvas
    step, colour = int(rng.integers(12, 18)), recolour(_clip(0.88 * c for c in scene.ground))
    for x in range(step // 2, CANVAS, step):
        for y in range(step // 2, CANVAS, step):
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return canvas


def paper_background(rng: np.random.Generator, scene: Scene, tone: tuple[int, int], noise: float) -> Image.Image:
    """Paper of a grey level in `tone`, slightly tinted, with low-frequency stains."""
    base = rng.uniform(*tone) + rng.uniform(-7, 7, 3)
    small = np.clip(base + rng.normal(0, noise, (6, 6, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)


# ---- objects: (rng, canvas, inks) draws on the canvas


def paint_flat(rng: np.random.Generator, canvas: Image.Image, inks: list[Ink], recolour: Recolour = unchanged) -> None:
    """Every part in one colour."""
    draw = ImageDraw.Draw(canvas)
    for ink in inks:
        if ink.width:
            draw.line(_points(ink.points), fill=recolour(ink.colour), width=max(2, round(ink.width)), joint="curve")
        else:
            draw.polygon(_points(ink.points), fill=recolour(ink.colour))


def paint_shaded(rng: np.random.Generator, canvas: Image.Image, inks: list[Ink]) -> None:
    """Three tones per part, lit from the upper left."""
    draw = ImageDraw.Draw(canvas)
    for ink in inks:
        tones = [_clip(f * c + o for c in ink.colour) for f, o in ((0.7, 0), (1.0, 0), (1.15, 22))]
        if ink.width:
            for tone, share in zip(tones[:2], (1.0, 0.5), strict=True):
                draw.line(_points(ink.points), fill=tone, width=max(1, round(share * ink.width)), joint="curve")
            continue
        centre = (ink.points.min(0) + ink.points.max(0)) / 2
        size = np.ptp(ink.points, axis=0)
        for tone, share, lift in zip(tones, (1.0, 0.82, 0.45), (0, 0.02, 0.1), strict=True):
            draw.polygon(_points(centre + share * (ink.points - centre) - lift * size), fill=tone)


def paint_outlined(rng: np.random.Generator, canvas: Image.Image, inks: list[Ink], width: tuple[float, float]) -> None:
    """Saturated flat parts under a black contour `width` canvas pixels thick."""
    draw, pen = ImageDraw.Draw(canvas), rng.uniform(*width)
    for ink in inks:
        points, colour = _points(ink.points), saturate(ink.colour)
        if ink.width:
            draw.line(points, fill=INK, width=round(ink.width + pen), joint="curve")
            draw.line(points, fill=colour, width=max(1, round(ink.width - pen / 2)), joint="curve")
        else:
            draw.polygon(points, fill=colour)
            draw.line([*points, points[0]], fill=INK, width=max(1, round(pen)), joint="curve")


def paint_pencil(rng: np.random.Generator, canvas: Image.Image, inks: list[Ink], tone: tuple[int, int]) -> None:
    """One to three shaky contour passes of a grey level in `tone`, some hatching, no colour."""
    draw = ImageDraw.Draw(canvas)
    pen = jitter(rng, (rng.uniform(*tone),) * 3, 16)
    passes, width = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    for ink in inks:
        path = ink.points if ink.width else np.concatenate([ink.points, ink.points[:1]])
        for _ in range(passes):
            shaky = path + rng.normal(0, 0.7, path.shape) + rng.normal(0, 0.6, 2)
            draw.line(_points(shaky), fill=pen, width=width)
        if not ink.width and (ink.role == DARK or (ink.role == MAIN and rng.random() < 0.4)):
            _hatch(rng, draw, ink.points, pen)


def _hatch(rng: np.random.Generator, draw: ImageDraw.ImageDraw, points: np.ndarray, pen) -> None:
    centre, half = (points.min(0) + points.max(0)) / 2, np.ptp(points, axis=0) / 2
    for t in np.linspace(-0.4, 0.4, int(rng.integers(3, 6))):
        ends = centre + half * np.array([(t - 0.18, 0.45), (t + 0.18, -0.45)]) + rng.normal(0, 0.8, (2, 2))
        draw.line(_points(ends), fill=pen, width=1)


# ---- occluders: (rng, canvas, scene) draws `scene.occluder`


def cover(rng: np.random.Generator, canvas: Image.Image, scene: Scene) -> None:
    """Plain occluder in its colour."""
    ImageDraw.Draw(canvas).polygon(_points(scene.occluder), fill=scene.occluder_colour)


def cover_outlined(rng: np.random.Generator, canvas: Image.Image, scene: Scene) -> None:
    """White occluder with a black contour."""
    paint_outlined(rng, canvas, [Ink(scene.occluder, (248, 248, 248), 0, PALE)], (3, 4))


def erase(rng: np.random.Generator, canvas: Image.Image, scene: Scene) -> None:
    """Occluder in the colour of the canvas corner: rubbed out."""
    ImageDraw.Draw(canvas).polygon(_points(scene.occluder), fill=canvas.getpixel((1, 1)))


# ---- effects on the canvas: (rng, canvas) -> canvas


def blur(rng: np.random.Generator, canvas: Image.Image, radius: tuple[float, float]) -> Image.Image:
    """Gaussian blur of a radius in `radius` canvas pixels."""
    return canvas.filter(ImageFilter.GaussianBlur(rng.uniform(*radius)))


def brush_strokes(rng: np.random.Generator, canvas: Image.Image, count: tuple[int, int]) -> Image.Image:
    """Repaint with `count` short strokes that take their colour from the picture."""
    n, pixels, draw = int(rng.integers(*count)), canvas.load(), ImageDraw.Draw(canvas)
    start = rng.uniform(0, CANVAS - 1, (n, 2))
    angle = rng.uniform(0, np.pi) + rng.normal(0, 0.5, n)
    reach = rng.uniform(3, 7, (n, 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    shade, width = rng.integers(-18, 19, (n, 3)).tolist(), rng.integers(2, 5, n).tolist()
    for (x, y), (dx, dy), change, w in zip(start.tolist(), reach.tolist(), shade, width, strict=True):
        colour = _clip(c + d for c, d in zip(pixels[int(x), int(y)], change, strict=True))
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=w)
    return canvas


def posterise(rng: np.random.Generator, canvas: Image.Image, bits: int) -> Image.Image:
    """Keep `bits` bits per channel."""
    return ImageOps.posterize(canvas, bits)


def stray_lines(rng: np.random.Generator, canvas: Image.Image, most: int) -> Image.Image:
    """Up to `most` long thin construction lines."""
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(most + 1)):
        draw.line(tuple(rng.uniform(0, CANVAS, 4).tolist()), fill=jitter(rng, (150, 150, 150), 20), width=1)
    return canvas


def blotches(rng: np.random.Generator, canvas: Image.Image, strength: float) -> Image.Image:
    """Wash the colours out in low-frequency patches, up to `strength` of the way to white."""
    patch = (255 * strength * rng.random((7, 7))).astype(np.uint8)
    lift = Image.fromarray(patch).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    return ImageChops.screen(canvas, Image.merge("RGB", (lift,) * 3))


# ---- effects on the reduced array: (rng, array) -> array

_RAMP = np.linspace(-1, 1, SIZE)
_WEAVE = np.where(np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 3 == 0, -1.0, 0.5)[:, :, None]


def light_ramp(rng: np.random.Generator, array: np.ndarray, strength: float) -> np.ndarray:
    """Brightness falling off linearly in a random direction by up to `strength`."""
    a, b = rng.uniform(-strength, strength, 2)
    return array * (1 + a * _RAMP[:, None, None] + b * _RAMP[None, :, None])


def grain(rng: np.random.Generator, array: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    """White noise with a standard deviation in `sigma`."""
    return array + rng.uniform(*sigma) * rng.standard_normal(array.shape)


def tint(rng: np.random.Generator, array: np.ndarray, gain: tuple[float, float, float], spread: float) -> np.ndarray:
    """Scale the channels by `gain` +- `spread`."""
    return array * (np.asarray(gain) + rng.uniform(-spread, spread, 3))


def weave(rng: np.random.Generator, array: np.ndarray, strength: float) -> np.ndarray:
    """Diagonal canvas texture."""
    return array + rng.uniform(0.5, 1) * strength * _WEAVE
