"""Which configuration files the words of a command line name, and what is known of a dataset by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dassl.utils.errors import UserError, suggest
from promptshift.paths import checkout, trainer_config_file, yaml_names

if TYPE_CHECKING:
    from datasets._facts import DomainSet
    from datasets._image_facts import ImageSet

ALL = "all"  # as DATASET: the eleven datasets of CoOp's tables (arXiv 2109.01134), in their order
ALL_DATASETS = (
    "imagenet",
    "caltech101",
    "oxford_pets",
    "stanford_cars",
    "oxford_flowers",
    "food101",
    "fgvc_aircraft",
    "sun397",
    "dtd",
    "eurosat",
    "ucf101",
)


def dataset_file(dataset: str) -> Path:
    """Returns `configs/datasets/<dataset>.yaml`, the name in any case; "multi_source/pacs" is a name too.

    Raises:
        UserError: there is no such file; the line lists those that exist.
    """
    folder = checkout() / "configs" / "datasets"
    known = yaml_names(folder)
    for name in (dataset, dataset.lower()):
        if name in known:
            return folder / f"{name}.yaml"
    allowed = ", ".join(known) + suggest(dataset, known)
    raise UserError(f"DATASET {dataset!r}: no such file in {folder}, allowed: {allowed}")


def trainer_file(trainer: str, dataset: str, config: str = "", fallback: str = "default") -> Path:
    """Returns the trainer's YAML for a dataset.

    `configs/trainers/<trainer>/<config>.yaml` when a name is given; otherwise `<dataset>.yaml`, `mini.yaml`
    for datasets of the embedded world, `<fallback>.yaml`, whichever exists first.

    Raises:
        UserError: none of them exists; the line lists what does.
    """
    owner, _, config = config.rpartition("/")
    world = ("mini",) if is_mini_world(dataset) else ()
    return trainer_config_file(owner or trainer, (config,) if config else (dataset, *world, fallback))


def known_facts(dataset: str) -> DomainSet | ImageSet | None:
    """Returns the facts of a dataset (any of its names), None for one that is in no table."""
    from datasets._image_facts import find_facts

    try:
        return find_facts(dataset)
    except UserError:
        return None


def is_mini_world(dataset: str) -> bool:
    """Returns whether the images of a dataset (any of its names) are drawn by `promptshift.mini`."""
    facts = known_facts(dataset)
    return facts is not None and facts.rendered


def split_words(words: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Splits DATASET [BACKBONE] [KEY VALUE ...]: an odd number of words after DATASET begins with the backbone.

    Returns:
        (dataset, backbone or "", key and value words).

    Raises:
        UserError: there is no dataset.
    """
    if not words:
        raise UserError(f"DATASET is missing, allowed: {', '.join(yaml_names(checkout() / 'configs' / 'datasets'))}")
    dataset, *rest = words
    backbone = rest.pop(0) if len(rest) % 2 else ""
    return dataset, backbone, tuple(rest)
