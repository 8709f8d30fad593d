"""ImageNet's variants: train on 16 shots of ImageNet, test on V2, Sketch, A and R (arXiv 2203.05557, section 4.3)."""

from __future__ import annotations

import dataclasses

from promptshift.protocols.config_files import known_facts
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.transfer import LAYOUT, plan_transfer
from promptshift.protocols.xd import FOLDERS

TARGETS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
MINI_TARGETS = ("mini_b2n_art_painting", "mini_b2n_cartoon", "mini_b2n_sketch")  # of a method trained on mini_b2n


@register(
    "imagenet_variants",
    layout=dataclasses.replace(
        LAYOUT,
        title="Variants of the training set",
        about="Trained on one dataset with few images per class; a column is the variant tested on.",
        recognises=lambda run: (
            bool(FOLDERS.intersection(run.folder.parts)) and run.dataset in [known_facts(name).name for name in TARGETS]
        ),
        rank=5,
    ),
    takes=("targets", "weights"),
)
def imagenet_variants(request: Request) -> Plan:
    """Returns the plan of `plan_transfer` with the variants as targets; the training job is that of `xd`."""
    return plan_transfer(request, TARGETS, MINI_TARGETS)
