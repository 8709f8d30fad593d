"""Forms of the repositories that adapt at test time: TPT and PromptAlign; and of every such method here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from promptshift.cli.upstream.class_forms import reproduce_xd, xd_test
from promptshift.cli.upstream.forms import Call, call, form, source, weights
from promptshift.protocols.config_files import is_mini_world

# TPT's names of test sets -> names of configs/datasets
_TPT_NAMES = {
    "I": "imagenet",
    "V": "imagenetv2",
    "A": "imagenet_a",
    "R": "imagenet_r",
    "K": "imagenet_sketch",
    "Flower102": "oxford_flowers",
    "Cars": "stanford_cars",
    "Pets": "oxford_pets",
    "Aircraft": "fgvc_aircraft",
    **{name: name.lower() for name in ("Food101", "SUN397", "DTD", "UCF101", "Caltech101")},
}


@form
def test_time(datasets: str, *more: str) -> list[Call]:
    """DATASET [SEED] [BACKBONE] [KEY VALUE ...]: the protocol that the method's paper has for DATASET.

    Several DATASETs have / between them and may be called by TPT's names (A R V K I, Flower102, Pets ...).
    """
    flags = {"seeds": [more[0]]} if more and more[0].isdecimal() else {}
    more = more[len(flags) :]
    return [_adapted(_TPT_NAMES.get(name, name), more, flags) for name in filter(None, datasets.split("/"))]


def _adapted(dataset: str, more: Sequence[str], flags: dict[str, Any]) -> Call:
    """Return the call for one test set.

    ImageNet stands for its four variants, each of which is one by its own name; CoOp's other ten datasets are tested
    with prompts from $SOURCE; any other leaves one domain out or goes from base to new classes. The configuration
    file that a script names is the one for ImageNet and its variants.
    """
    from promptshift.protocols import imagenet_variants, xd

    if dataset == "imagenet":
        return call("imagenet_variants", dataset, *more, **flags)
    if dataset in imagenet_variants.TARGETS:
        return call("imagenet_variants", source(), *more, targets=dataset, **flags)
    if dataset in imagenet_variants.MINI_TARGETS:
        trained = os.environ.get("SOURCE") or "mini_b2n"
        return call("imagenet_variants", trained, *more, targets=dataset, default_config="default", **flags)
    if dataset in xd.TARGETS:
        return call("xd", source(), *more, targets=dataset, default_config="default", **flags)
    return call("main", dataset, *more, default_config="default", **flags)


@form
def palign(dataset: str, seed: str, *more: str) -> list[Call]:
    """DATASET SEED [NAME] [KEY VALUE ...]: as reproduce_xd with $WEIGHTS/NAME (weights/maple), else as xd_test."""
    if len(more) % 2 == 0:
        return xd_test(dataset, seed, *more)
    name, *more = more
    return reproduce_xd(dataset, seed, str(weights("weights/maple") / name), *more)


@form
def tpt(datasets: str, *more: str) -> list[Call]:
    """TESTSETS [BACKBONE] [KEY VALUE ...]: TPT's test sets (A/R/V/K ...) with its own RN50; seed 0."""
    found = []
    for asked in test_time(datasets, *more):
        dataset, *options = asked.words
        backbone = options.pop(0) if len(options) % 2 else "RN50"
        if not is_mini_world(asked.flags.get("targets", dataset)):
            options += ["MODEL.BACKBONE.NAME", backbone]  # TPT has no folders of its own: each backbone has one here
        found.append(asked.replace(words=(dataset, *options), seeds=("0",)))
    return found


# TDA's names of test sets that are not those of configs/datasets -> those
_TDA_NAMES = {
    "I": "imagenet",
    "A": "imagenet_a",
    "V": "imagenetv2",
    "R": "imagenet_r",
    "S": "imagenet_sketch",
    "fgvc": "fgvc_aircraft",
}


@form
def tda(datasets: str, *more: str) -> list[Call]:
    """DATASETS [BACKBONE] [KEY VALUE ...]: with / between them and in TDA's names, each with its own settings."""
    from promptshift.protocols import imagenet_variants

    names = [_TDA_NAMES.get(name, name) for name in filter(None, datasets.split("/"))]
    variants = ("imagenet", *imagenet_variants.TARGETS)
    return [
        call("imagenet_variants" if name in variants else "xd", "imagenet", *more, targets=name, config=name)
        for name in names
    ]
