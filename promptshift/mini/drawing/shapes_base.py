"""Shapes of the first ten evaluation classes: functions rng -> parts in [-1, 1]^2."""

import numpy as np

from .geometry import DARK, MAIN, PALE, SECOND, Part, box, ellipse, fill, line, ring


def apple(rng: np.random.Generator) -> list[Part]:
    """Two lobes, a stem and a leaf."""
    r, dx, h = rng.uniform(0.46, 0.54), rng.uniform(0.24, 0.32), rng.uniform(0.62, 0.7)
    lean = rng.uniform(-0.1, 0.15)
    leaf = np.array([(0.02, -0.62), (0.2, -0.85), (0.5, -0.82), (0.3, -0.6)])
    return [
        fill(ellipse(-dx, 0.2, r, h)),
        fill(ellipse(dx, 0.2, r, h)),
        line([(0, -0.3), (lean, -0.85)], DARK, 0.1),
        fill(leaf, SECOND),
    ]


def bicycle(rng: np.random.Generator) -> list[Part]:
    """Two wheels, a diamond frame, saddle and handlebar."""
    r, x, w = rng.uniform(0.38, 0.46), rng.uniform(0.5, 0.58), rng.uniform(0.07, 0.1)
    seat, bar, pedal = (-0.25, -0.35), (0.35, -0.4), (-0.05, 0.35)
    frame = [(-x, 0.4), seat, bar, pedal, (-x, 0.4)]
    return [
        ring(-x, 0.4, r, r, DARK, w),
        ring(x, 0.4, r, r, DARK, w),
        line(frame, MAIN, w),
        line([seat, pedal], MAIN, w),
        line([(x, 0.4), (0.3, -0.58), (0.5, -0.66)], MAIN, w),
        line([(-0.42, -0.48), (-0.1, -0.48)], DARK, 0.13),
    ]


def bird(rng: np.random.Generator) -> list[Part]:
    """Side view: body, head, beak, tail, wing, two legs."""
    body, head = rng.uniform(0.34, 0.42), rng.uniform(0.24, 0.29)
    tail = rng.uniform(-0.2, 0.1)
    return [
        line([(-0.08, 0.3), (-0.14, 0.85)], DARK, 0.07),
        line([(0.15, 0.3), (0.12, 0.85)], DARK, 0.07),
        fill([(-0.35, -0.05), (-0.98, tail - 0.12), (-0.95, tail + 0.2), (-0.3, 0.28)]),
        fill(ellipse(0, 0.12, 0.58, body)),
        fill(ellipse(0.5, -0.32, head, head)),
        fill([(0.68, -0.42), (0.98, -0.28), (0.68, -0.2)], SECOND),
        fill([(-0.45, 0.0), (0.25, -0.08), (0.05, 0.3), (-0.3, 0.28)], SECOND),
        fill(ellipse(0.56, -0.38, 0.06, 0.06), PALE),
    ]


def boat(rng: np.random.Generator) -> list[Part]:
    """Hull, mast and two triangular sails."""
    top, deck, half = rng.uniform(-0.95, -0.8), rng.uniform(0.32, 0.42), rng.uniform(0.78, 0.92)
    return [
        line([(0, top), (0, deck)], DARK, 0.08),
        fill([(0.08, top + 0.08), (0.08, 0.22), (rng.uniform(0.5, 0.68), 0.22)], SECOND),
        fill([(-0.08, top + 0.2), (-0.08, 0.22), (rng.uniform(-0.6, -0.45), 0.22)], PALE),
        fill([(-half, deck), (half, deck), (half - 0.28, 0.85), (0.28 - half, 0.85)]),
    ]


def butterfly(rng: np.random.Generator) -> list[Part]:
    """Four round wings with pale spots, body and antennae."""
    up, low = rng.uniform(0.38, 0.46), rng.uniform(0.3, 0.38)
    parts = []
    for side in (-1, 1):
        parts += [
            fill(ellipse(side * 0.46, -0.3, up, up + 0.06)),
            fill(ellipse(side * 0.38, 0.44, low, low)),
            fill(ellipse(side * 0.5, -0.32, 0.15, 0.17), PALE),
            fill(ellipse(side * 0.42, 0.46, 0.1, 0.1), SECOND),
            line([(0, -0.5), (side * 0.25, -0.95)], DARK, 0.05),
        ]
    return parts + [fill(ellipse(0, 0.05, 0.09, 0.6), DARK)]


def car(rng: np.random.Generator) -> list[Part]:
    """Side view: body, cabin with windows, two wheels."""
    roof, r, x = rng.uniform(-0.55, -0.4), rng.uniform(0.19, 0.25), rng.uniform(0.48, 0.56)
    back, front = rng.uniform(-0.62, -0.45), rng.uniform(0.3, 0.45)
    cabin = [(back - 0.12, 0.02), (back, roof), (front, roof), (front + 0.25, 0.02)]
    windows = [fill(box(back + 0.04, roof + 0.1, -0.1, -0.02), PALE), fill(box(0.0, roof + 0.1, front, -0.02), PALE)]
    return [
        fill(cabin),
        fill([(-0.95, 0.0), (0.8, 0.0), (0.97, 0.16), (0.97, 0.42), (-0.95, 0.42)]),
        *windows,
        fill(ellipse(-x, 0.45, r, r), DARK),
        fill(ellipse(x, 0.45, r, r), DARK),
        fill(ellipse(-x, 0.45, r / 2.5, r / 2.5), PALE),
        fill(ellipse(x, 0.45, r / 2.5, r / 2.5), PALE),
    ]


def chair(rng: np.random.Generator) -> list[Part]:
    """Three-quarter view: high back, seat, four legs."""
    w, top, seat = rng.uniform(0.11, 0.15), rng.uniform(-0.95, -0.82), rng.uniform(0.0, 0.15)
    right = rng.uniform(0.45, 0.58)
    return [
        line([(-0.5, top), (-0.5, 0.9)], MAIN, w),
        line([(right, seat), (right, 0.9)], MAIN, w),
        line([(-0.2, seat), (-0.2, 0.72)], MAIN, w * 0.8),
        line([(right - 0.26, seat), (right - 0.26, 0.72)], MAIN, w * 0.8),
        fill(
            [
                (-0.56, seat + 0.12),
                (-0.56, seat - 0.04),
                (-0.3, seat - 0.14),
                (right + 0.08, seat - 0.1),
                (right + 0.08, seat + 0.12),
            ]
        ),
        line([(-0.5, top), (-0.22, top - 0.02), (-0.22, seat)], MAIN, w * 0.8),
        line([(-0.5, (top + seat) / 2), (-0.22, (top + seat) / 2 - 0.05)], SECOND, w),
    ]


def clock(rng: np.random.Generator) -> list[Part]:
    """Round case, pale face, two hands at a random time."""
    r, rim = rng.uniform(0.78, 0.9), rng.uniform(0.14, 0.2)
    a, b = 2 * np.pi * rng.random(2)
    short, long = 0.55 * (r - rim), 0.85 * (r - rim)
    ticks = [
        line([(0.8 * r * c, 0.8 * r * s), (0.68 * r * c, 0.68 * r * s)], DARK, 0.06)
        for c, s in ((0, 1), (1, 0), (0, -1), (-1, 0))
    ]
    return [
        fill(ellipse(0, 0, r, r)),
        fill(ellipse(0, 0, r - rim, r - rim), PALE),
        *ticks,
        line([(0, 0), (short * np.cos(a), short * np.sin(a))], DARK, 0.12),
        line([(0, 0), (long * np.cos(b), long * np.sin(b))], DARK, 0.08),
    ]


def cup(rng: np.random.Generator) -> list[Part]:
    """Tapered mug with one handle and a dark opening."""
    top, bottom, y = rng.uniform(0.52, 0.6), rng.uniform(0.38, 0.5), rng.uniform(-0.68, -0.55)
    handle = ellipse(0.55, 0.08, 0.34, rng.uniform(0.3, 0.4), -0.25, 0.25)
    return [
        line(handle, MAIN, 0.13),
        fill([(-top - 0.1, y), (top - 0.1, y), (bottom - 0.1, 0.78), (-bottom - 0.1, 0.78)]),
        fill(ellipse(-0.1, y, top, 0.12), DARK),
        line([(-top - 0.06, -0.1), (top - 0.14, -0.1)], SECOND, 0.14),
    ]


def fish(rng: np.random.Generator) -> list[Part]:
    """Side view: spindle body, tail fin, back fin, eye, gill."""
    h, tail = rng.uniform(0.36, 0.46), rng.uniform(0.34, 0.46)
    return [
        fill([(-0.4, 0), (-0.97, -tail), (-0.82, 0), (-0.97, tail)]),
        fill([(-0.25, -h + 0.12), (0.05, -h - 0.26), (0.3, -h + 0.12)], SECOND),
        fill([(-0.1, h - 0.1), (-0.05, h + 0.2), (0.2, h - 0.1)], SECOND),
        fill(ellipse(0.18, 0, 0.72, h)),
        fill(ellipse(0.6, -0.08, 0.09, 0.09), PALE),
        line(ellipse(0.5, 0, 0.2, h * 0.75, 0.35, 0.65, 8), DARK, 0.05),
    ]
