"""What PromptSync's parts are worth (arXiv 2404.07520), on a stream as it is and on an imbalanced one."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from dassl.utils.errors import UserError
from promptshift.results.diagnostics import long_tail
from promptshift.results.significance import compare
from promptshift.results.tables import Table
from promptshift.studies.bench import Bench
from promptshift.studies.outcome import Outcome
from promptshift.studies.registry import study
from promptshift.studies.target import (
    ALIGNMENT,
    DISCRIMINATION,
    ENTROPY,
    FULL,
    IMAGES,
    NONE,
    PROMPTALIGN,
    Target,
    by_row,
    over_images,
    whole,
)

POINTS = 10  # of a running difference
RATIO = 10  # of the largest to the smallest class, where the environment variable of that name says nothing
GROUPS = ("frequent", "middle", "rare")  # thirds of the classes


@study("components", "PromptSync's component ablation on the same images, paired differences (IMAGES=200)")
def components(bench: Bench) -> list[Outcome]:
    """Adapt to the same images with every choice of components."""
    target = Target(bench)
    rows = target.choose()
    found = {
        variant.label: target.adapted(variant, rows) for variant in (NONE, FULL, ALIGNMENT, DISCRIMINATION, ENTROPY)
    }
    return [components_outcome(target.place, target.about, {label: own.right for label, own in found.items()})]


def components_outcome(place: str, about: str, right: dict[str, Tensor]) -> Outcome:
    """Return paired differences to PromptSync from 100 (right) or 0 of each image, (N,), by variant."""
    full = right[FULL.label]
    others = {label: own for label, own in right.items() if label != FULL.label}
    rows = [(FULL.label, f"{float(full.mean()):.2f}", "", "", "")]
    rows += [(label, f"{float(own.mean()):.2f}", *_difference(own, full)) for label, own in others.items()]
    series = [{"label": label, **running_difference(own, full)} for label, own in others.items()]
    return Outcome(
        f"components-{place}",
        f"PromptSync: component ablation ({about})",
        "Accuracy less that of the whole of PromptSync over the first images of the same random order; bands: 95 % "
        "interval of the paired difference.",
        f"{len(full)} images. " + " ".join(over_images(label, own, FULL.label, full) for label, own in others.items()),
        "Difference to PromptSync against the number of images, a curve with its band for each variant; numbers in the "
        "table.",
        "lines",
        ({"xlabel": "images", "ylabel": f"accuracy less {FULL.label}'s (points)", "series": series},),
        Table(
            ("adapted with", "accuracy (%)", f"less {FULL.label}'s (points)", "95 % interval", "images gained, lost"),
            tuple(rows),
            f"PromptSync's components ({about}), {len(full)} images",
        ),
        (
            f"{len(full)} test images drawn by the seed (IMAGES), the same with the same views for all rows; intervals "
            "are over images of one run. Entropy: PromptAlign's term with weight 1. All other settings are those of the "
            "configuration file; this study chooses none.",
        ),
    )


def _difference(own: Tensor, full: Tensor) -> tuple[str, str, str]:
    paired = compare(by_row(own), by_row(full))
    interval = "-" if paired.low is None else f"{paired.low:+.2f} to {paired.high:+.2f}"
    return f"{paired.difference:+.2f}", interval, f"{int((own > full).sum())}, {int((own < full).sum())}"


def running_difference(own: Tensor, full: Tensor) -> dict[str, list[float]]:
    """Return a plot's series: the mean of own - full over the first images, and the half width of its 95 % interval.

    Args:
        own, full: (N,) a number per image. The mean is taken at no more than `POINTS` numbers of images.
    """
    series: dict[str, list[float]] = {"x": [], "y": [], "spread": []}
    for n in sorted({max(1, len(own) * (i + 1) // POINTS) for i in range(POINTS)}):
        paired = compare(by_row(own[:n]), by_row(full[:n]))
        series["x"].append(n)
        series["y"].append(round(paired.difference, 4))
        series["spread"].append(0.0 if paired.low is None else round(paired.high - paired.difference, 4))
    return series


@study("imbalanced", "accuracy by class frequency on a long-tailed stream, with PromptSync (IMAGES=200, RATIO=10)")
def imbalanced(bench: Bench) -> list[Outcome]:
    """Adapt to a seeded long-tailed selection of the test images.

    Raises:
        UserError: the selection has classes of one size only.
    """
    target = Target(bench)
    labels, images, ratio = target.labels(), whole("IMAGES", IMAGES, 1), whole("RATIO", RATIO, 2)
    rows = long_tailed_rows(labels, images, ratio, target.seed)
    counts = torch.bincount(torch.tensor([labels[row] for row in rows]), minlength=max(labels) + 1)
    if len(counts[counts > 0].unique()) < 2:
        raise UserError(
            f"IMAGES: {images} with RATIO {ratio} leaves classes of {int(counts.max())} images each, no "
            "long tail; allowed: more images"
        )
    found = {variant.label: target.adapted(variant, rows) for variant in (NONE, PROMPTALIGN, FULL)}
    return [
        imbalanced_outcome(
            target.place,
            target.about,
            {label: own.right for label, own in found.items()},
            found[FULL.label].labels,
            ratio,
        )
    ]


def long_tailed_rows(labels: list[int], images: int, ratio: int, seed: int) -> list[int]:
    """Return row numbers of a selection whose class sizes are those of `long_tail`, in random order."""
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    left = long_tail([labels.count(k) for k in range(max(labels) + 1)], images, ratio, seed)
    chosen = []
    for row in order:
        if left[labels[row]]:
            left[labels[row]] -= 1
            chosen.append(row)
    return chosen


def frequency_groups(labels: Tensor) -> dict[str, Tensor]:
    """Return the rows of labels (N,) by `GROUPS`: thirds of the classes that occur, the most frequent first."""
    counts = torch.bincount(labels)
    classes = counts.sort(descending=True, stable=True).indices[: int((counts > 0).sum())]
    return {
        name: torch.isin(labels, part).nonzero().flatten()
        for name, part in zip(GROUPS, classes.tensor_split(len(GROUPS)))
    }


def imbalanced_outcome(place: str, about: str, right: dict[str, Tensor], labels: Tensor, ratio: int) -> Outcome:
    """Return accuracy by class frequency from 100 (right) or 0 of each image, (N,), by variant, and labels (N,)."""
    groups, counts = frequency_groups(labels), torch.bincount(labels)
    counts = counts[counts > 0]
    sizes = f"{int(counts.max())} to {int(counts.min())} images"
    header = (
        "adapted with",
        *(f"{name} ({len(rows)} images)" for name, rows in groups.items()),
        "all images",
        "mean over classes",
    )
    texts = [f"{len(labels)} images, classes of {sizes}."]
    texts += [
        f"On {name} classes, " + over_images(FULL.label, right[FULL.label][rows], other, right[other][rows])
        for name, rows in (("rare", groups["rare"]), ("all", torch.arange(len(labels))))
        for other in right
        if other != FULL.label
    ]
    return Outcome(
        f"imbalanced-{place}",
        f"PromptSync on an imbalanced stream ({about})",
        "Accuracy by class frequency: mean number of images of a class in each third of the classes; bands: 95 % "
        "interval of an accuracy over its images.",
        " ".join(texts),
        "Accuracy against the size of the class, a curve for each variant; numbers in the table.",
        "lines",
        (_by_frequency(right, groups, labels),),
        Table(
            header,
            tuple(
                (
                    label,
                    *(f"{float(own[rows].mean()):.2f}" for rows in groups.values()),
                    f"{float(own.mean()):.2f}",
                    f"{_over_classes(own, labels):.2f}",
                )
                for label, own in right.items()
            ),
            f"Accuracy (%) by class frequency ({about})",
        ),
        (
            f"{len(labels)} test images drawn by the seed (IMAGES): class sizes fall geometrically, largest to smallest "
            f"{ratio}:1 before rounding (RATIO), classes in an order drawn by the seed; intervals are over images of one "
            "run. Every image is adapted to by itself from the same prompts, so a balanced stream would give each image "
            "the same answer.",
        ),
    )


def _by_frequency(right: dict[str, Tensor], groups: dict[str, Tensor], labels: Tensor) -> dict:
    sizes = [round(len(rows) / len(labels[rows].unique()), 1) for rows in groups.values()]
    series = []
    for label, own in right.items():
        means = [float(own[rows].mean()) for rows in groups.values()]
        halves = [1.96 * (p * (100 - p) / len(rows)) ** 0.5 for p, rows in zip(means, groups.values())]
        series.append({"label": label, "x": sizes, "y": means, "spread": halves})
    return {"xlabel": "images of a class, mean of a third of the classes", "ylabel": "accuracy (%)", "series": series}


def _over_classes(right: Tensor, labels: Tensor) -> float:
    return float(torch.stack([right[labels == k].mean() for k in labels.unique()]).mean())
