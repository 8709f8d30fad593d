"""Base and new classes: the first ceil(n/2) labels and the rest (base-to-new protocol of arXiv 2203.05557)."""

import math
from collections.abc import Iterable

from dassl.data.datasets import Datum
from dassl.utils.errors import UserError, suggest

SUBSAMPLES = ("all", "base", "new")


def select_labels(labels: Iterable[int], subsample: str) -> list[int]:
    """The sorted labels kept by DATASET.SUBSAMPLE_CLASSES.

    Raises:
        UserError: `subsample` is not all, base or new, or nothing would be left.
    """
    labels = sorted(set(labels))
    middle = math.ceil(len(labels) / 2)
    kept = {"all": labels, "base": labels[:middle], "new": labels[middle:]}.get(subsample)
    if kept is None:
        raise UserError(
            f"DATASET.SUBSAMPLE_CLASSES: {subsample!r} is not allowed; allowed: {', '.join(SUBSAMPLES)}"
            f"{suggest(subsample, SUBSAMPLES)}"
        )
    if not kept:
        raise UserError(f"DATASET.SUBSAMPLE_CLASSES: {subsample!r} leaves no class of {len(labels)}")
    return kept


def relabel(data: Iterable[Datum], kept: list[int]) -> list[Datum]:
    """The images whose label is kept, relabelled from 0 in the order of `kept`."""
    new_label = {label: position for position, label in enumerate(kept)}
    return [
        Datum(impath=item.impath, label=new_label[item.label], domain=item.domain, classname=item.classname)
        for item in data
        if item.label in new_label
    ]


def subsample_classes(*sets: list[Datum], subsample: str = "all") -> list[list[Datum]]:
    """Keep the base or the new half of the classes in every set; labels are those of all sets together."""
    kept = select_labels((item.label for data in sets for item in data), subsample)
    return [list(data) for data in sets] if subsample == "all" else [relabel(data, kept) for data in sets]
