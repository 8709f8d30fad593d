"""Points of many dimensions on a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

MOST = 250  # points of a group


def planar_map(points: Tensor, groups: Sequence[str], seed: int, colours: Sequence[str] | None = None) -> dict:
    """Return the t-SNE (van der Maaten and Hinton 2008) of points as a panel of kind `scatter`.

    Args:
        points: (N, D), N >= 4.
        groups: the group of each point; at most `MOST` of each are drawn, chosen by the seed.
        seed: of that choice and of t-SNE.
        colours: what each point is drawn as, its group when None; equal points have equal places whatever it is.
    """
    from sklearn.manifold import TSNE

    rows = chosen_rows(groups, seed)
    values = points[rows].double().numpy()
    spread = values.std()
    values = (values - values.mean(axis=0)) / (spread if spread > 0 else 1.0)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values)
    shown = [(colours or groups)[row] for row in rows]
    panel = [
        {
            "label": name,
            "x": _plain(places[[g == name for g in shown], 0]),
            "y": _plain(places[[g == name for g in shown], 1]),
        }
        for name in sorted(set(shown))
    ]
    return {"groups": panel, "hide_ticks": True}


def chosen_rows(groups: Sequence[str], seed: int) -> list[int]:
    """Return at most `MOST` row numbers of every group, in ascending order."""
    generator, names = np.random.default_rng(seed), np.asarray(groups)
    picked = [generator.permutation(np.flatnonzero(names == name))[:MOST] for name in sorted(set(groups))]
    return sorted(np.concatenate(picked).tolist())


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
