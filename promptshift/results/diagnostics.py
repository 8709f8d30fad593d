"""Numbers that the papers on generated and on adapted prompts argue with, as pure functions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
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
    return {
        "negative_margin_share": 100 * float((delta >= 0).double().mean()),
        "negative_margin_mean": float(delta.mean()),
    }


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


def deviations(points: Tensor) -> Tensor:
    """Squared Euclidean distance (N,) of points (N, ...) to their mean; its mean is their variance (divisor N)."""
    flat = points.flatten(1).double()
    return (flat - flat.mean(dim=0)).square().sum(dim=1)


def view_variance(features: Tensor) -> Tensor:
    """Variance (N,) of features (N, V, E) over the V views of each image, summed over E (divisor V)."""
    values = features.double()
    return (values - values.mean(dim=1, keepdim=True)).square().sum(dim=-1).mean(dim=-1)


def differing_share(moves: Tensor) -> float | None:
    """How much of the moves (N, ...) of N images differs between images: 0 where all are alike, 100 where they cancel.

    Returns:
        100 * (mean squared distance to the mean move) / (mean squared length of a move); None where nothing moves.
    """
    length = moves.flatten(1).double().square().sum(dim=1).mean()
    return 100 * float(deviations(moves).mean() / length) if length > 0 else None


def class_agreement(text: Tensor, vision: Tensor) -> dict[str, Tensor]:
    """How text and vision prototypes of K >= 2 classes agree.

    Args:
        text, vision: (K, E), L2-normalised; row k of either is of class k.

    Returns:
        (K,) each: `own`, the cosine of a class's two prototypes; `other`, the highest cosine of its vision prototype
        with another class's text prototype; `vision_right`, whether the text prototype nearest to its vision prototype
        is its own; `text_right`, whether the vision prototype nearest to its text prototype is its own.
    """
    cosines = vision.double() @ text.double().T  # (K vision, K text)
    classes = torch.arange(len(cosines), device=cosines.device)
    others = cosines.clone().fill_diagonal_(float("-inf"))
    return {
        "own": cosines.diagonal(),
        "other": others.max(dim=1).values,
        "vision_right": cosines.argmax(dim=1) == classes,
        "text_right": cosines.argmax(dim=0) == classes,
    }


def balance(predicted: Tensor, labels: Tensor, classes: int) -> dict[str, float]:
    """How evenly predictions fall on K classes.

    Args:
        predicted, labels: (N,) class indices.
        classes: K.

    Returns:
        `entropy` of the predicted classes' histogram in nats (at most ln K), `largest` share of a class and `distance`,
        the total variation distance to the histogram of the labels, both in percent.
    """
    shares, true = (torch.bincount(x, minlength=classes).double() / len(x) for x in (predicted, labels))
    return {
        "entropy": float(-torch.xlogy(shares, shares).sum()),
        "largest": 100 * float(shares.max()),
        "distance": 50 * float((shares - true).abs().sum()),
    }


def bootstrap_intervals(
    statistics: Callable[[Tensor], Sequence[float]],
    n: int,
    seed: int,
    draws: int = 1000,
) -> list[tuple[float, float]]:
    """95 % percentile intervals of statistics over n samples drawn anew with replacement.

    Args:
        statistics: row numbers (n,) -> numbers.
        n: number of samples.
        seed: of the draws.
        draws: how many.

    Returns:
        (low, high) of each number.
    """
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([statistics(torch.randint(n, (n,), generator=generator)) for _ in range(draws)]).double()
    ends = values.quantile(torch.tensor([0.025, 0.975]).double(), dim=0)
    return [(low, high) for low, high in ends.T.tolist()]


def long_tail(available: Sequence[int], images: int, ratio: float, seed: int) -> list[int]:
    """Class sizes that fall geometrically from the most frequent class to the rarest, in an order drawn by the seed.

    Args:
        available: images of each class; a class without any stays without.
        images: wanted in all; fewer where a class has too few for its place.
        ratio: of the largest to the smallest class, >= 1, before rounding; no size is less than 1.
        seed: of the order.

    Returns:
        The size of each class.
    """
    order = [k for k, count in enumerate(available) if count]
    random.Random(seed).shuffle(order)
    shape = [ratio ** (-rank / max(1, len(order) - 1)) for rank in range(len(order))]
    scale = min([images / math.fsum(shape), *(available[k] / part for k, part in zip(order, shape))])
    sizes = [0] * len(available)
    for k, part in zip(order, shape):
        sizes[k] = max(1, round(scale * part))
    return sizes
