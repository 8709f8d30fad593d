"""Shapes of the last ten evaluation classes: functions rng -> parts in [-1, 1]^2."""

import numpy as np

from .geometry import DARK, MAIN, PALE, SECOND, Part, box, ellipse, fill, line, ring, star_points


def flower(rng: np.random.Generator) -> list[Part]:
    """Five to seven round petals on a stem with one leaf."""
    n, r, reach = int(rng.integers(5, 8)), rng.uniform(0.2, 0.25), rng.uniform(0.3, 0.35)
    turn = 2 * np.pi * (rng.random() + np.arange(n) / n)
    petals = [fill(ellipse(reach * np.cos(t), -0.4 + reach * np.sin(t), r, r)) for t in turn]
    side = rng.choice((-1, 1))
    leaf = [(0, 0.6), (side * 0.25, 0.36), (side * 0.5, 0.34), (side * 0.3, 0.6)]
    return [
        line([(0, -0.3), (rng.uniform(-0.08, 0.08), 0.95)], DARK, 0.09),
        fill(leaf, DARK),
        *petals,
        fill(ellipse(0, -0.4, 0.2, 0.2), SECOND),
    ]


def guitar(rng: np.random.Generator) -> list[Part]:
    """Upright: two-lobed body with a hole, long neck, head."""
    low, up = rng.uniform(0.42, 0.5), rng.uniform(0.3, 0.36)
    return [
        fill(ellipse(0, 0.52, low, 0.42)),
        fill(ellipse(0, 0.05, up, 0.32)),
        fill(box(-0.07, -0.75, 0.07, 0.2), DARK),
        fill([(-0.14, -0.98), (0.14, -0.98), (0.1, -0.7), (-0.1, -0.7)], SECOND),
        fill(ellipse(0, 0.22, 0.13, 0.13), DARK),
        line([(-0.18, 0.62), (0.18, 0.62)], DARK, 0.08),
    ]


def house(rng: np.random.Generator) -> list[Part]:
    """Walls, gable roof, door, two windows, chimney."""
    half, eave, top = rng.uniform(0.6, 0.72), rng.uniform(-0.22, -0.08), rng.uniform(-0.92, -0.75)
    return [
        fill(box(0.25, top + 0.05, 0.45, eave), DARK),
        fill(box(-half, eave, half, 0.82)),
        fill([(-half - 0.2, eave), (0, top), (half + 0.2, eave)], SECOND),
        fill(box(-0.13, 0.3, 0.15, 0.82), DARK),
        fill(box(-half + 0.1, 0.08, -half + 0.36, 0.36), PALE),
        fill(box(half - 0.36, 0.08, half - 0.1, 0.36), PALE),
    ]


def key(rng: np.random.Generator) -> list[Part]:
    """Lying key: open bow, straight shaft, two or three teeth."""
    r, w = rng.uniform(0.27, 0.34), rng.uniform(0.13, 0.17)
    teeth = [
        line([(x, 0), (x, rng.uniform(0.28, 0.4))], MAIN, w) for x in np.linspace(0.88, 0.5, int(rng.integers(2, 4)))
    ]
    return [ring(-0.6, 0, r, r, MAIN, w), line([(-0.6 + r, 0), (0.95, 0)], MAIN, w), *teeth]


def ladder(rng: np.random.Generator) -> list[Part]:
    """Two rails and four to six rungs."""
    bottom, top, w = rng.uniform(0.34, 0.44), rng.uniform(0.26, 0.36), rng.uniform(0.09, 0.12)
    rungs = []
    for y in np.linspace(-0.72, 0.72, int(rng.integers(4, 7))):
        half = top + (bottom - top) * (y + 0.95) / 1.9
        rungs.append(line([(-half, y), (half, y)], MAIN, w))
    return [*rungs, line([(-top, -0.95), (-bottom, 0.95)], MAIN, w), line([(top, -0.95), (bottom, 0.95)], MAIN, w)]


def lamp(rng: np.random.Generator) -> list[Part]:
    """Table lamp: tapered shade, pole, foot."""
    top, bottom, y = rng.uniform(0.22, 0.32), rng.uniform(0.55, 0.68), rng.uniform(-0.12, 0.05)
    return [
        line([(0, y), (0, 0.8)], DARK, 0.1),
        fill([(-top, -0.88), (top, -0.88), (bottom, y), (-bottom, y)]),
        fill(box(-0.38, 0.76, 0.38, 0.92), SECOND),
        line([(0.2, y), (0.2, y + 0.28)], DARK, 0.05),
    ]


def mushroom(rng: np.random.Generator) -> list[Part]:
    """Half-round cap with pale dots on a pale stem."""
    rx, ry, y = rng.uniform(0.74, 0.88), rng.uniform(0.68, 0.84), rng.uniform(-0.02, 0.08)
    spots = [fill(ellipse(x, y - h, 0.1, 0.09), PALE) for x, h in ((-0.4, 0.22), (0.02, 0.48), (0.42, 0.24))]
    stem = [(-0.22, y), (0.22, y), (0.3, 0.9), (-0.3, 0.9)]
    return [
        fill(stem, PALE),
        line([stem[0], stem[3], stem[2], stem[1]], DARK, 0.05),
        fill(ellipse(0, y, rx, ry, 0.5, 1.0)),
        *spots,
    ]


def star(rng: np.random.Generator) -> list[Part]:
    """Five-pointed star."""
    return [fill(star_points(5, 0.95, rng.uniform(0.38, 0.48)))]


def tree(rng: np.random.Generator) -> list[Part]:
    """Trunk under either a round crown or stacked triangles."""
    trunk = fill(box(-0.12, 0.25, 0.12, 0.95), DARK)
    if rng.random() < 0.5:
        r = rng.uniform(0.32, 0.38)
        lobes = ((-0.34, -0.05), (0.34, -0.05), (-0.2, -0.48), (0.22, -0.48), (0, -0.1))
        return [trunk, *(fill(ellipse(x, y, r, r)) for x, y in lobes)]
    half = rng.uniform(0.55, 0.66)
    return [
        trunk,
        *(
            fill([(0, y - 0.5), (w, y + 0.12), (-w, y + 0.12)])
            for y, w in ((0.32, half), (-0.05, half * 0.8), (-0.42, half * 0.6))
        ),
    ]


def umbrella(rng: np.random.Generator) -> list[Part]:
    """Open canopy with scalloped rim, shaft and hooked handle."""
    rx, ry, y = rng.uniform(0.82, 0.95), rng.uniform(0.66, 0.8), rng.uniform(-0.05, 0.05)
    canopy = np.concatenate(
        [ellipse(0, y, rx, ry, 0.5, 1.0), *(ellipse(x * rx, y, rx / 3, 0.12, 1.0, 0.5, 8) for x in (2 / 3, 0, -2 / 3))]
    )
    ribs = [line([(0, y - ry), (x * rx, y - 0.1)], SECOND, 0.05) for x in (-0.33, 0.33)]
    hook = np.concatenate([[(0, y - ry - 0.1), (0, 0.75)], ellipse(0.14, 0.75, 0.14, 0.18, 0.5, 0.0, 8)])
    return [line(hook, DARK, 0.08), fill(canopy), *ribs]
