"""What a trainer predicts of images and keeps beside, and what is counted by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """What a trainer says of B images.

    Attributes:
        logits: (B, K).
        kept: more of each image, for the diagnostics of a run, name -> (B, ...).
    """

    logits: Tensor
    kept: dict[str, Tensor] = field(default_factory=dict)


def joined(batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What batches kept, as name -> (N, ...) of all N images, on the CPU."""
    return {name: torch.cat([kept[name].cpu() for kept in batches]) for name in (batches[0] if batches else ())}


def domain_accuracies(correct: Tensor, domains: list[int], names: Sequence[str]) -> dict[str, float]:
    """{"accuracy_<domain>": percent} of images of several domains, {} of images of one.

    Args:
        correct: (N,) bool, whether each image was classified right.
        domains: domain index of each image.
        names: domain names by index.
    """
    present = sorted(set(domains))
    if len(present) < 2 or not names:
        return {}
    of_image = torch.tensor(domains)
    return {f"accuracy_{names[index]}": 100.0 * correct[of_image == index].double().mean().item() for index in present}
