"""Memory of a MaPLe training step: prompts of all classes at 77 tokens against this code, loss compared."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import plain
from benchmarks.models import VIT_B16, class_names, random_clip
from promptshift.modeling.multimodal import CoupledPrompts
from promptshift.modeling.towers.text_tower import MAX_TOKENS

MEMORY_HEADER = ["what", "plain (MB)", "ours (MB)", "ratio", "goal", "largest difference of loss"]
_CLASSES, _IMAGES = 1000, 4
_PLAIN_CLASSES = 40, 80  # what plain is measured at; its memory is a constant and so much a class


@dataclass
class MemoryRow:
    """One line of the table; megabytes are the most that tensors made during the step held at once."""

    what: str
    plain: float
    ours: float
    difference: float
    goal: str

    def cells(self) -> list:
        return [
            self.what,
            f"{self.plain:,.0f}",
            f"{self.ours:,.0f}",
            f"{self.plain / self.ours:.1f}x",
            self.goal,
            f"{self.difference:.1e}",
        ]


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of all storages made within it that are alive, on any device, and the most there were."""

    def __init__(self):
        super().__init__()
        self.alive: dict[int, weakref.ref] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.alive:
            return

        def freed(_):
            del self.alive[key]
            self.now -= size

        self.alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


def memory_rows(device: str) -> list[MemoryRow]:
    """One row: MaPLe (2 tokens, depth 9) on 1000 classes, batch 4, fp32; what plain needs there follows from two
    smaller class lists, since 1000 classes of it do not fit a small machine.
    """
    clip = random_clip(device, VIT_B16)
    images = torch.randn(_IMAGES, 3, 224, 224, device=device)

    def learner(classes: int) -> CoupledPrompts:
        torch.manual_seed(1)
        return CoupledPrompts(clip, class_names(classes), 2, "a photo of a", 9, MAX_TOKENS, "MAPLE").to(device)

    few, more = _PLAIN_CLASSES
    (_, small), (plain_loss, large) = (step(learner(k), images, plain.maple_features) for k in (few, more))
    our_loss, _ = step(learner(more), images, _our_features)
    difference = abs(plain_loss - our_loss)
    assert difference <= 1e-4, f"MaPLe: losses differ by {difference}"
    _, ours = step(learner(_CLASSES), images, _our_features)
    whole = large + (large - small) / (more - few) * (_CLASSES - more)
    return [MemoryRow(f"MaPLe training step, {_CLASSES} classes, batch {_IMAGES}", whole, ours, difference, ">= 3x")]


def step(
    learner: CoupledPrompts, images: Tensor, features: Callable[[CoupledPrompts, Tensor], tuple[Tensor, Tensor]]
) -> tuple[float, float]:
    """Forward and backward pass of a training step -> its loss, and the most megabytes that its tensors held."""
    labels = torch.arange(len(images), device=images.device)
    with PeakBytes() as memory:
        classes, seen = features(learner, images)
        loss = F.cross_entropy(learner.template.clip.logit_scale * seen @ classes.T, labels)
        loss.backward()
    return loss.item(), memory.peak / 2**20


def _our_features(learner: CoupledPrompts, images: Tensor) -> tuple[Tensor, Tensor]:
    return learner.class_features(), learner.image_features(images)
