"""Cross-dataset transfer: train on 16 shots of ImageNet, test on ten other datasets (arXiv 2203.05557, section 4.2)."""

from __future__ import annotations

import dataclasses

from promptshift.protocols.config_files import ALL_DATASETS
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.transfer import LAYOUT, plan_transfer

TARGETS = ALL_DATASETS[1:]
MINI_TARGETS = ("mini", "mini2", "mini3")  # of a method trained on mini_b2n


FOLDERS = {"evaluation", "imagenet"}  # of upstream's runs; those of other protocols are asked for first


@register(
    "xd",
    layout=dataclasses.replace(
        LAYOUT,
        title="Cross-dataset transfer",
        about="Trained on one dataset with few images per class; a column is the dataset tested on.",
        recognises=lambda run: bool(FOLDERS.intersection(run.folder.parts)),
        rank=4,
    ),
    takes=("targets", "weights"),
)
def xd(request: Request) -> Plan:
    """Returns the plan of `plan_transfer` with the ten datasets as targets."""
    return plan_transfer(request, TARGETS, MINI_TARGETS)
