"""Collapse (PromptSync, arXiv 2404.07520): do adapted prompts, features or predictions become all alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from promptshift.results.diagnostics import (
    balance,
    bootstrap_intervals,
    deviations,
    differing_share,
    view_variance,
)
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
    NONE,
    PROMPTALIGN,
    Adapted,
    Target,
    by_row,
    over_images,
)


@study("collapse", "variance of adapted prompts and features with and without each loss of PromptSync (IMAGES=200)")
def collapse(bench: Bench) -> list[Outcome]:
    """Adapt to the same images with and without each loss."""
    target = Target(bench)
    rows = target.choose()
    found = {
        variant.label: target.adapted(variant, rows, prompts_and_features)
        for variant in (NONE, FULL, ALIGNMENT, DISCRIMINATION, ENTROPY)
    }
    return [collapse_outcome(target.place, target.about, found)]


def prompts_and_features(trainer, values, seen) -> dict[str, Tensor]:
    """Prompts of both towers (N, P) under which each image is seen, its clean feature (N, E), variance over views."""
    prompts = trainer.prompt_learner.prompts(values)
    features, _ = trainer.view_features(prompts, seen.views)  # (N, V, E)
    text, vision = (
        (first, *deep) for first, deep in ((prompts.ctx, prompts.deep_text), (prompts.vision, prompts.deep_vision))
    )
    return {
        "text": torch.cat([part.flatten(1) for part in text], dim=1),
        "vision": torch.cat([part.flatten(1) for part in vision], dim=1),
        "clean": features[:, 0],
        "over_views": 100 * view_variance(features),
    }


def collapse_outcome(place: str, about: str, found: dict[str, Adapted]) -> Outcome:
    """Return variances by variant from `prompts_and_features`; the first variant is the one without adaptation."""
    spread = {
        label: {"over_images": 100 * deviations(own.measured["clean"]), "over_views": own.measured["over_views"]}
        for label, own in found.items()
    }
    n = len(found[FULL.label].labels)
    texts = [
        f"{n} images. {_reading(spread)} Variance of features over images, in percent of a feature's squared length."
    ]
    texts += [
        over_images(FULL.label, spread[FULL.label]["over_images"], other, spread[other]["over_images"])
        for other in found
        if other != FULL.label
    ]
    texts.append(
        "Over the views of an image: "
        + over_images(FULL.label, spread[FULL.label]["over_views"], NONE.label, spread[NONE.label]["over_views"])
    )
    header = (
        "adapted with",
        "text prompts over images",
        "vision prompts over images",
        "part of their move (%)",
        "features over views",
        "features over images",
        "accuracy (%)",
    )
    return Outcome(
        f"collapse-{place}",
        f"PromptSync: do prompts or features collapse ({about})",
        "Every point is an image: variance of its feature over its views, and squared distance of its clean view's "
        "feature to the mean of all images, whose mean is the variance over images. Both are percent of a feature's "
        "squared length; points near the lower left corner have collapsed.",
        " ".join(texts),
        "Variance over views against distance from the mean image, a group of points for each variant; means in the "
        "table.",
        "scatter",
        (_scatter(spread),),
        Table(
            header,
            tuple(_collapse_row(label, own, found[NONE.label], spread[label]) for label, own in found.items()),
            f"Variances in percent of the squared length ({about}, {n} images)",
        ),
        (
            "Part of their move: the share of the prompts' squared move, from those that adaptation starts from, that "
            "differs between images; 0 where all images get the same prompts. Discrimination looks at no test image, so "
            "alone it moves the prompts of all images alike.",
            f"{n} test images drawn by the seed (IMAGES); intervals are over images of one run. Deviations are taken from "
            "the mean of the same images.",
        ),
    )


def _reading(spread: dict[str, dict[str, Tensor]]) -> str:
    """Return whether the images' features draw together under PromptSync."""
    before, after = (spread[label]["over_images"] for label in (NONE.label, FULL.label))
    paired = compare(by_row(after), by_row(before))
    unsure = paired.low is None or paired.low <= 0 <= paired.high
    says = (
        "collapse is neither seen nor excluded"
        if unsure
        else "features do not collapse"
        if paired.difference > 0
        else "features draw together"
    )
    return (
        f"With {FULL.label} the variance of features over images is "
        f"{float(after.mean() / before.mean()):.3f} times that of {NONE.label}: {says}."
    )


def _scatter(spread: dict[str, dict[str, Tensor]]) -> dict:
    groups = [
        {"label": label, "x": _rounded(own["over_views"]), "y": _rounded(own["over_images"])}
        for label, own in spread.items()
    ]
    return {"xlabel": "variance over views (%)", "ylabel": "squared distance to the mean image (%)", "groups": groups}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _collapse_row(label: str, own: Adapted, start: Adapted, spread: dict[str, Tensor]) -> tuple[str, ...]:
    prompts = [own.measured[tower] for tower in ("text", "vision")]
    relative = [100 * float(deviations(p).mean() / p.double().square().sum(dim=1).mean()) for p in prompts]
    move = differing_share(torch.cat(prompts, dim=1) - torch.cat([start.measured["text"], start.measured["vision"]], 1))
    return (
        label,
        *(f"{value:.3g}" for value in relative),
        "no move" if move is None else f"{move:.1f}",
        *(f"{float(spread[key].double().mean()):.2f}" for key in ("over_views", "over_images")),
        f"{float(own.right.mean()):.2f}",
    )


@study("class_balance", "predicted class frequencies before and after adapting with PromptSync (IMAGES=200)")
def class_balance(bench: Bench) -> list[Outcome]:
    """Count predictions by class for the same images, before and after adaptation."""
    target = Target(bench)
    rows = target.choose()
    found = {variant.label: target.adapted(variant, rows) for variant in (NONE, PROMPTALIGN, FULL, ENTROPY)}
    return [balance_outcome(target.place, target.about, found, target.seed)]


def balance_outcome(place: str, about: str, found: dict[str, Adapted], seed: int) -> Outcome:
    """Return numbers of the histograms of predicted classes by variant, with intervals by the seed's bootstrap."""
    start = found[NONE.label]
    n, classes = start.logits.shape
    true = balance(start.labels, start.labels, classes)
    rows = [("true classes", f"{true['entropy']:.3f}", f"{true['largest']:.2f}", "0.00", "")]
    for label, own in found.items():
        numbers = balance(own.predicted, own.labels, classes)
        rows.append(
            (
                label,
                f"{numbers['entropy']:.3f}",
                f"{numbers['largest']:.2f}",
                f"{numbers['distance']:.2f}",
                f"{float(own.right.mean()):.2f}",
            )
        )
    texts = [balance_change(label, own, start, seed) for label, own in found.items() if own is not start]
    return Outcome(
        f"class_balance-{place}",
        f"PromptSync: predicted classes before and after adaptation ({about})",
        f"Share of the predictions that fall on the most frequent class, the second, and so on, of {classes} classes; "
        "each curve has an order of its own. A curve that rises at its left end leans to few classes.",
        f"{n} images. Against no adaptation (95 % intervals): " + " ".join(texts),
        "Share of predictions by rank of the class, a curve for each variant and one for the true classes; numbers in "
        "the table.",
        "lines",
        (_ranks(start.labels, found, classes),),
        Table(
            (
                "predictions of",
                f"entropy (nats, at most {math.log(classes):.3f})",
                "largest share (%)",
                "distance to the true classes (%)",
                "accuracy (%)",
            ),
            tuple(rows),
            f"Predicted classes ({about}), {n} images",
        ),
        (
            f"{n} test images drawn by the seed (IMAGES). Distance: total variation. Intervals: bootstrap over images of "
            "one run, 1000 draws.",
        ),
    )


def balance_change(label: str, own: Adapted, start: Adapted, seed: int) -> str:
    """Return in words how entropy and distance to the true histogram change, with bootstrap intervals."""
    names = {"entropy": "entropy", "distance": "distance to the true classes"}
    classes, n = own.logits.shape[1], len(own.labels)

    def changes(rows: Tensor) -> list[float]:
        after, before = (balance(x.predicted[rows], x.labels[rows], classes) for x in (own, start))
        return [after[key] - before[key] for key in names]

    parts = []
    for name, change, (low, high) in zip(
        names.values(), changes(torch.arange(n)), bootstrap_intervals(changes, n, seed)
    ):
        reading = "higher" if low > 0 else "lower" if high < 0 else "not told apart"
        parts.append(f"{name} {change:+.3f} ({low:+.3f} to {high:+.3f}, {reading})")
    return f"{label}: {', '.join(parts)}."


def _ranks(labels: Tensor, found: dict[str, Adapted], classes: int) -> dict:
    curves = {"true classes": labels, **{label: own.predicted for label, own in found.items()}}
    series = []
    for label, values in curves.items():
        shares = 100 * torch.bincount(values, minlength=classes).double() / len(values)
        series.append(
            {
                "label": label,
                "x": list(range(1, classes + 1)),
                "y": _rounded(shares.sort(descending=True).values),
                "reference": label == "true classes",
            }
        )
    return {"xlabel": "class, by frequency", "ylabel": "share of the predictions (%)", "series": series}
