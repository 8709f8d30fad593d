"""Whether all images of a known dataset are there: half an archive trains as well as a whole one and means nothing."""

from collections.abc import Mapping
from pathlib import Path

from dassl.utils.errors import UserError

from ._entries import Item
from ._facts import DomainSet
from ._image_facts import ImageSet
from ._layout import Place, domain_pieces, image_names
from ._splits import Split
from ._subsample import select_labels

PARTIAL = " (partial)"  # behind the dataset's name in results and tables


def shown_name(name: str, partial: object) -> str:
    """Name of a dataset in results; DATASET.PARTIAL is part of it, so that no published number stands beside it."""
    return f"{name}{PARTIAL}" if partial else name


def refuse_partial(facts: DomainSet | ImageSet, counts: Mapping[str, int], where: object, partial: object) -> None:
    """Refuse a known dataset that has fewer images than it should, unless DATASET.PARTIAL says so.

    Args:
        counts: Images found of each domain or part.
        where: Where they are.
        partial: DATASET.PARTIAL; None in a configuration without that key, which is none of a run.

    Raises:
        UserError: Images are missing; the line names the domain or part that lacks most.
    """
    if partial is not False or facts.rendered:
        return
    known = {name: total for name, total in facts.totals.items() if total is not None and name in counts}
    lacking = {name: total - counts[name] for name, total in known.items() if counts[name] < total}
    if lacking:
        worst = max(lacking, key=lacking.__getitem__)
        raise UserError(
            f"{facts.name}: {sum(counts[name] for name in known):,} of {sum(known.values()):,} images under {where} "
            f"({worst}: {counts[worst]:,} of {known[worst]:,}); unpack the others, `promptshift data check "
            f"{facts.name}` counts them, or run on part of them with DATASET.PARTIAL True"
        )


def domain_images(facts: DomainSet, place: Place, domain: str, split: Split | None) -> dict[str, list[Path]]:
    """Paths of a domain's images per class: those of the lists, or all of the folders but the corrupt ones."""
    images: dict[str, list[Path]] = {}
    folder = place.domain_dirs[domain]
    if facts.lists:
        for item in split.train + split.val:
            images.setdefault(item.classname, []).append(folder.parent / item.relpath)
        return images
    for piece in domain_pieces(facts, folder):
        for name, class_dir in piece.classes.items():
            images.setdefault(name, []).extend(
                class_dir / file for file in image_names(class_dir) if f"{domain}/{name}/{file}" not in facts.corrupt
            )
    return images


def count_domains(facts: DomainSet, place: Place, splits: Mapping[str, Split]) -> dict[str, int]:
    """Number of images of every domain that has a split here."""
    return {
        domain: sum(map(len, domain_images(facts, place, domain, split).values())) for domain, split in splits.items()
    }


def named_parts(facts: ImageSet, parts: tuple[list[Item], ...]) -> dict[str, list[Item]]:
    """Train, val and test by the names of the known totals; base and new are halves of the test images."""
    train, val, test = parts
    if "test" in facts.totals:
        return {"test": test}
    base = set(select_labels((item.label for item in test), "base"))
    return {
        "train": train,
        "val": val,
        "base test": [item for item in test if item.label in base],
        "new test": [item for item in test if item.label not in base],
    }
