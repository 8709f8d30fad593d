"""Shapes of the twelve classes that only pretraining images and distractors show: functions rng -> parts."""

import numpy as np

from .geometry import DARK, MAIN, PALE, SECOND, Part, box, ellipse, fill, line


def hat(rng: np.random.Generator) -> list[Part]:
    """Top hat with a band."""
    half, top, brim = rng.uniform(0.42, 0.54), rng.uniform(-0.72, -0.5), rng.uniform(0.82, 0.95)
    return [
        fill([(-half + 0.05, top), (half - 0.05, top), (half, 0.4), (-half, 0.4)]),
        fill(ellipse(0, 0.42, brim, 0.2)),
        fill(box(-half, 0.12, half, 0.3), SECOND),
    ]


def bottle(rng: np.random.Generator) -> list[Part]:
    """Bottle with neck, cap and pale label."""
    half, shoulder = rng.uniform(0.27, 0.35), rng.uniform(-0.3, -0.15)
    body = [
        (-0.11, -0.8),
        (0.11, -0.8),
        (0.11, shoulder - 0.2),
        (half, shoulder + 0.1),
        (half, 0.93),
        (-half, 0.93),
        (-half, shoulder + 0.1),
        (-0.11, shoulder - 0.2),
    ]
    return [fill(body), fill(box(-0.14, -0.97, 0.14, -0.78), DARK), fill(box(-half, 0.15, half, 0.58), PALE)]


def book(rng: np.random.Generator) -> list[Part]:
    """Open book: two pages with text lines."""
    tilt, h = rng.uniform(0.1, 0.25), rng.uniform(0.48, 0.6)
    left = [(-0.92, -h), (0, -h + tilt), (0, h), (-0.92, h - tilt)]
    right = [(0.92, -h), (0, -h + tilt), (0, h), (0.92, h - tilt)]
    lines = [line([(x, y), (x + 0.5, y)], DARK, 0.05) for x in (-0.72, 0.22) for y in (-0.1, 0.1)]
    return [fill(left), fill(right, SECOND), *lines, line([(0, -h + tilt), (0, h)], DARK, 0.07)]


def heart(rng: np.random.Generator) -> list[Part]:
    """Heart curve."""
    t = 2 * np.pi * np.linspace(0, 1, 30)
    x = rng.uniform(0.82, 0.95) * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / rng.uniform(17, 19)
    return [fill(np.stack([x, y], axis=1))]


def moon(rng: np.random.Generator) -> list[Part]:
    """Crescent between two arcs."""
    inner = rng.uniform(0.3, 0.55)
    outer = ellipse(0.3, 0, 0.9, 0.92, 0.25, 0.75)
    return [fill(np.concatenate([outer, ellipse(0.3, 0, inner, 0.92, 0.75, 0.25)]))]


def rocket(rng: np.random.Generator) -> list[Part]:
    """Pointed hull, fins, window and flame."""
    half = rng.uniform(0.26, 0.34)
    hull = [(0, -0.97), (half, -0.4), (half, 0.5), (-half, 0.5), (-half, -0.4)]
    fins = [fill([(s * half, 0.05), (s * (half + 0.34), 0.66), (s * half, 0.5)], SECOND) for s in (-1, 1)]
    return [
        fill([(-0.18, 0.5), (0.18, 0.5), (0, rng.uniform(0.82, 0.97))], SECOND),
        *fins,
        fill(hull),
        fill(ellipse(0, -0.25, 0.15, 0.15), PALE),
    ]


def hammer(rng: np.random.Generator) -> list[Part]:
    """Handle under a head with a claw."""
    w, y = rng.uniform(0.14, 0.19), rng.uniform(-0.62, -0.5)
    head = [(-0.55, y - 0.18), (0.35, y - 0.18), (0.75, y + 0.05), (0.3, y + 0.16), (-0.55, y + 0.16)]
    return [line([(0, y), (0, 0.95)], SECOND, w), fill(head)]


def cat(rng: np.random.Generator) -> list[Part]:
    """Cat face: head, ears, pale eyes, nose, whiskers."""
    r, ear = rng.uniform(0.66, 0.74), rng.uniform(-0.98, -0.85)
    ears = [fill([(s * 0.16, -0.45), (s * 0.6, ear), (s * 0.68, -0.15)]) for s in (-1, 1)]
    eyes = [fill(ellipse(s * 0.27, 0.02, 0.14, 0.12), PALE) for s in (-1, 1)]
    pupils = [fill(ellipse(s * 0.27, 0.02, 0.05, 0.1), DARK) for s in (-1, 1)]
    whiskers = [line([(s * 0.2, 0.42), (s * 0.95, y)], DARK, 0.04) for s in (-1, 1) for y in (0.3, 0.52)]
    return [
        *ears,
        fill(ellipse(0, 0.16, r, r - 0.06)),
        *eyes,
        *pupils,
        fill(ellipse(0, 0.35, 0.09, 0.07), SECOND),
        *whiskers,
    ]


def table(rng: np.random.Generator) -> list[Part]:
    """Side view: long top, two legs, low bar."""
    y, w, x = rng.uniform(-0.4, -0.22), rng.uniform(0.14, 0.2), rng.uniform(0.6, 0.74)
    return [
        line([(-x, y), (-x - 0.05, 0.8)], MAIN, w),
        line([(x, y), (x + 0.05, 0.8)], MAIN, w),
        fill(box(-0.95, y - 0.12, 0.95, y + 0.1)),
        line([(-x, 0.35), (x, 0.35)], SECOND, 0.08),
    ]


def flag(rng: np.random.Generator) -> list[Part]:
    """Waving flag with a stripe on a pole."""
    x, wave = np.linspace(-0.5, 0.9, 9), rng.uniform(0.06, 0.14)
    dy = wave * np.sin(2 * np.pi * (np.linspace(0, 1, 9) + rng.uniform(-0.1, 0.1)))

    def band(top: float, bottom: float) -> np.ndarray:
        return np.concatenate([np.stack([x, dy + top], 1), np.stack([x, dy + bottom], 1)[::-1]])

    return [line([(-0.55, -0.97), (-0.55, 0.97)], DARK, 0.1), fill(band(-0.82, 0.1)), fill(band(-0.46, -0.24), SECOND)]


def balloon(rng: np.random.Generator) -> list[Part]:
    """Egg-shaped balloon, knot, curled string."""
    rx, ry = rng.uniform(0.46, 0.55), rng.uniform(0.58, 0.66)
    t = np.linspace(0, 1, 9)
    string = np.stack([rng.uniform(0.06, 0.14) * np.sin(2 * np.pi * t), 0.33 + 0.64 * t], axis=1)
    return [
        line(string, DARK, 0.05),
        fill([(-0.1, 0.4), (0.1, 0.4), (0, 0.2)]),
        fill(ellipse(0, -0.32, rx, ry)),
        fill(ellipse(-0.18, -0.52, 0.1, 0.14), PALE),
    ]


def sword(rng: np.random.Generator) -> list[Part]:
    """Upright blade, cross guard, grip, pommel."""
    w, guard = rng.uniform(0.1, 0.15), rng.uniform(0.34, 0.46)
    blade = [(-w, 0.38), (-w, -0.75), (0, -0.98), (w, -0.75), (w, 0.38)]
    return [
        fill(blade),
        line([(-guard, 0.42), (guard, 0.42)], SECOND, 0.14),
        line([(0, 0.4), (0, 0.85)], DARK, 0.14),
        fill(ellipse(0, 0.88, 0.1, 0.09), SECOND),
    ]
