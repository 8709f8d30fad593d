"""Which classes are new: decided per image, and what that costs, or for a whole dataset that was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils.errors import UserError
from promptshift.results.statistics import harmonic_mean
from promptshift.runs.finished_run import run_options


def route(mixed: Tensor, new: Tensor, tuned: Tensor, base_classes: int) -> tuple[Tensor, Tensor]:
    """Base or new, by the tuned prompt's largest probability on either side; each image for itself.

    Args:
        mixed, new, tuned: logits (B, K) of the mixture, of the prompt for new classes and of the tuned prompt.
        base_classes: the first so many of the K classes are base.

    Returns:
        whether each image counts as base (B,), and logits (B, K) with -inf at the names of the other side.
    """
    to_base = tuned[:, :base_classes].amax(dim=1) >= tuned[:, base_classes:].amax(dim=1)  # softmax keeps the order
    is_base_name = torch.arange(mixed.shape[1], device=mixed.device) < base_classes
    logits = torch.where(to_base[:, None], mixed, new)
    return to_base, logits.masked_fill(to_base[:, None] != is_base_name, float("-inf"))


def guesses(to_base: Tensor, mixed: Tensor, new: Tensor, base_classes: int) -> Tensor:
    """What the report on routing needs of each image.

    Args:
        to_base: whether each image counts as base (B,).
        mixed, new: logits (B, K) of the mixture and of the prompt for new classes.
        base_classes: the first so many of the K classes are base.

    Returns:
        (B, 3): whether it counts as base, its class were it told to be base, and its class were it told to be new.
    """
    as_base, as_new = mixed[:, :base_classes].argmax(dim=1), new[:, base_classes:].argmax(dim=1) + base_classes
    return torch.stack([to_base.long(), as_base, as_new], dim=1)


def routing_report(rows: Tensor, labels: Tensor, base_classes: int) -> dict[str, float]:
    """Routing accuracy, and Base, New and their harmonic mean H when told and when not, in percent.

    Args:
        rows: `guesses` of N images, (N, 3).
        labels: their classes (N,).
        base_classes: the first so many classes are base.
    """
    to_base, as_base, as_new = rows.unbind(dim=1)
    is_base = labels < base_classes
    right = to_base.bool() == is_base
    told = torch.where(is_base, as_base, as_new) == labels
    found = {"route_accuracy": _percent(right)}
    for name, correct in (("told", told), ("routed", told & right)):
        base, new = _percent(correct[is_base]), _percent(correct[~is_base])
        found |= {f"{name}_base": base, f"{name}_new": new, f"{name}_H": harmonic_mean([base], [new])}
    return found | {"route_costs_H": found["told_H"] - found["routed_H"]}


def _percent(correct: Tensor) -> float:
    return 100.0 * correct.double().mean().item()


def trained_elsewhere(folder, cfg):
    """Whether the weights in a folder were trained on another dataset than `cfg` names.

    Released ones, which do not say, are taken to be ImageNet's, as the released code takes all for that.
    """
    try:
        trained = run_options(folder, "--model-dir") or {"DATASET.NAME": "ImageNet"}
        same = DATASET_REGISTRY.get(trained["DATASET.NAME"]) is DATASET_REGISTRY.get(cfg.DATASET.NAME)
    except UserError:  # a dataset of somebody else's that is not here
        return True
    return not same or trained.get("DATASET.FOLDER", "") != cfg.DATASET.get("FOLDER", "")
