"""DPC's negative sampler (arXiv 2503.13443): which classes join a batch, and one training image of each."""

from __future__ import annotations

import random
from collections import defaultdict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dassl.data.samplers import SeededIndex
from dassl.utils.errors import UserError

FEWEST = 2  # negatives of an image, as long as the draws below find some


class HardNegatives:
    """Extends a batch by images of the classes that its images are mistaken for.

    For each image the top K classes are taken in order, its own and (non-repeat) all that the batch already holds left
    out. Fewer than two are filled up with random classes: at most C - 2 draws from 1 .. C - 2, so the first and the
    last class are never drawn, as in the released sampler for CoOp, or from 1 .. C - 1, as in that for PromptKD.
    Python's generator picks classes and images.

    Args:
        dataset: training set; `dataset[SeededIndex]` is one augmented image with its label.
        labels: the label of each of its images.
        n_classes: C.
        top_k: K.
        non_repeat: a class joins a batch once at most.
        key: the key of `top_k`, for the error message.
        last_class: whether the last class may be drawn.

    Raises:
        UserError: K out of range, or a class without training image.
    """

    def __init__(
        self,
        dataset: Dataset,
        labels: list[int],
        n_classes: int,
        top_k: int,
        non_repeat: bool,
        key: str,
        last_class: bool = False,
    ):
        if not 2 <= top_k <= n_classes:
            raise UserError(f"{key}: {top_k}; allowed: 2 to {n_classes}, the number of classes trained on")
        self.last_drawn = n_classes - (1 if last_class else 2)
        self.dataset, self.n_classes, self.top_k, self.non_repeat = dataset, n_classes, top_k, non_repeat
        self.images: dict[int, list[int]] = defaultdict(list)
        for index, label in enumerate(labels):
            self.images[label].append(index)

    def mine(self, scores: Tensor, labels: list[int]) -> list[list[int]]:
        """Scores (B, C) and true labels -> for each image the training images, by index, that join it."""
        used = set(labels)
        joined = []
        for label, candidates in zip(labels, scores.topk(self.top_k, dim=1).indices.tolist(), strict=True):
            taken = used if self.non_repeat else {label}
            chosen = [c for c in candidates if c not in taken and self.images[c]]
            taken.update(chosen)
            self._fill(chosen, taken)
            joined.append([random.choice(self.images[c]) for c in chosen])
        return joined

    def _fill(self, chosen: list[int], taken: set[int]) -> None:
        for _ in range(self.n_classes - 2):
            if len(chosen) >= FEWEST:
                return
            drawn = random.randint(1, self.last_drawn)
            if drawn not in taken and self.images[drawn]:
                chosen.append(drawn)
                taken.add(drawn)

    def extend(self, batch: dict, scores: Tensor) -> dict:
        """A batch of B images and their scores (B, C) -> one of M images, each followed by its negatives."""
        labels = batch["label"].tolist()
        joined = self.mine(scores, labels)
        flat = [index for indices in joined for index in indices]
        if not flat:
            return batch
        seeds = torch.randint(2**32, (len(flat),)).tolist()
        items = [self.dataset[SeededIndex(index, seed)] for index, seed in zip(flat, seeds, strict=True)]
        order, following = [], iter(range(len(labels), len(labels) + len(flat)))
        for i, indices in enumerate(joined):
            order += [i, *(next(following) for _ in indices)]
        what = "feature" if "feature" in batch else "img"
        pool = torch.cat([batch[what], torch.stack([item[what] for item in items]).to(batch[what])])
        label = torch.cat([batch["label"], torch.tensor([item["label"] for item in items]).to(batch["label"])])
        return {what: pool[order], "label": label[order]}
