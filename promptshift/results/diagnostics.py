"""Numbers that the papers on generated prompts argue with, as pure functions."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from promptshift.results.statistics import population_std


def distance_ratio(prompts: Tensor, domains: Tensor) -> float | None:
    """Intra-domain over inter-domain distance of generated prompts (DPSPG, arXiv 2505.18770: small is stable).

    The mean Euclidean distance of a prompt to the mean prompt of its own domain, over the mean distance between the
    mean prompts of two domains (every pair counts once).

    Args:
        prompts: (N, M, D), one context per image.
        domains: (N,) domain of each image.

    Returns:
        The ratio, None where there are fewer than two domains or their means are equal.
    """
    flat = prompts.flatten(1).double()
    groups = [flat[domains == domain] for domain in domains.unique()]
    means = [group.mean(dim=0) for group in groups]
    if len(groups) < 2:
        return None
    inside = torch.cat([(group - center).norm(dim=1) for group, center in zip(groups, means)]).mean()
    between = torch.stack([(a - b).norm() for a, b in combinations(means, 2)]).mean()
    return float(inside / between) if between > 0 else None


def negative_margin(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """How far the negative scores are from what DPSPG's margin argument asks (arXiv 2505.18770, theory section).

    delta of an image = min over wrong classes i of s-_i, less s-_y. Where it is not negative, subtracting the
    negative scores widens the margin of the true class.

    Args:
        scores: (N, K) negative cosines s-; K >= 2.
        labels: (N,).

    Returns:
        `negative_margin_share`: images with delta >= 0, in percent; `negative_margin_mean`: mean delta.
    """
    delta = negative_deltas(scores, labels)
    return {"negative_margin_share": 100 * float((delta >= 0).double().mean()),
            "negative_margin_mean": float(delta.mean())}


def negative_deltas(scores: Tensor, labels: Tensor) -> Tensor:
    """The delta (N,) of every image, from negative cosines (N, K) and labels (N,)."""
    rows = torch.arange(len(scores))
    wrong = scores.double().clone()
    wrong[rows, labels] = float("inf")
    return wrong.min(dim=1).values - scores.double()[rows, labels]


def last_epochs_std(history: Sequence[dict], epochs: int = 10) -> float | None:
    """Standard deviation (divisor n) of the validation accuracy over the last epochs that were validated.

    Returns:
        Percentage points; None for fewer than two validated epochs.
    """
    values = [epoch["val_accuracy"] for epoch in history if "val_accuracy" in epoch][-epochs:]
    return population_std(values) if len(values) > 1 else None
