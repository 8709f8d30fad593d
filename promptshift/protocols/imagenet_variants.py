"""ImageNet's variants: train on 16 shots of ImageNet, test on V2, Sketch, A and R (arXiv 2203.05557, section 4.3)."""

from __future__ import annotations

from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.transfer import plan_transfer

TARGETS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")
MINI_TARGETS = ("mini_b2n_art_painting", "mini_b2n_cartoon", "mini_b2n_sketch")  # of a method trained on mini_b2n


@register("imagenet_variants", takes=("targets", "weights"))
def imagenet_variants(request: Request) -> Plan:
    """Returns the plan of `plan_transfer` with the variants as targets; the training job is that of `xd`."""
    return plan_transfer(request, TARGETS, MINI_TARGETS)
