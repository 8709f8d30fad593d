"""Orders in which images are drawn. Same calls of ``random`` and numpy, in the same order, as Dassl 0.6.3."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler

from ..utils.errors import UserError, suggest
from .datasets import Datum

__all__ = [
    "RandomClassSampler",
    "RandomDomainSampler",
    "RandomSampler",
    "SeededIndex",
    "SeededSampler",
    "SeqDomainSampler",
    "SequentialSampler",
    "build_sampler",
]


class SeededIndex(int):
    """An index into a dataset that brings the seed under which its image is to be augmented."""

    seed: int

    def __new__(cls, index: int, seed: int) -> "SeededIndex":
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed)


class SeededSampler(Sampler[SeededIndex]):
    """Gives each index of another sampler a seed of its own, drawn in the main process.

    So what happens to an image depends on (run seed, epoch, position) and not on the worker that reads it.

    Args:
        sampler: the sampler whose order is kept.
        seed: seeds of every pass come from this number; None draws anew from torch's global generator per pass.
    """

    def __init__(self, sampler: Sampler[int], seed: int | None = None) -> None:
        self.sampler = sampler
        self.seed = seed
        self.length = len(sampler)

    def __iter__(self) -> Iterator[SeededIndex]:
        indices = list(self.sampler)
        self.length = len(indices)
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        seeds = torch.randint(2**32, (len(indices),), generator=generator).tolist()
        return map(SeededIndex, indices, seeds)

    def __len__(self) -> int:
        """Length of the pass under way; before the first one, what the sampler says."""
        return self.length


class _PlannedSampler(Sampler[int]):
    """Plans a whole pass at once; the length is that of a first plan, as upstream's, and later ones may differ."""

    length: int

    def _plan(self) -> list[int]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return iter(self._plan())

    def __len__(self) -> int:
        return self.length


class RandomDomainSampler(_PlannedSampler):
    """Batches with ``batch_size / n_domain`` images from each of ``n_domain`` random domains (0: all of them).

    A pass ends when one of the drawn domains can no longer fill its share.

    Raises:
        UserError: a batch that cannot be divided, or more domains asked for than there are.
    """

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_domain: int) -> None:
        self.domain_dict = _indices_by(data_source, "domain")
        self.domains = list(self.domain_dict)
        self.n_domain = n_domain if n_domain > 0 else len(self.domains)
        if self.n_domain > len(self.domains):
            raise UserError(f"DATALOADER.TRAIN_X.N_DOMAIN is {n_domain}, but the data has {len(self.domains)} domains")
        if batch_size < self.n_domain or batch_size % self.n_domain:
            raise UserError(
                f"DATALOADER.TRAIN_X.BATCH_SIZE {batch_size} cannot be divided among {self.n_domain} domains"
            )
        self.n_img_per_domain = batch_size // self.n_domain
        self.length = len(self._plan())

    def _domains_of_a_batch(self) -> list[int]:
        return random.sample(self.domains, self.n_domain)

    def _plan(self) -> list[int]:
        left = {domain: _Remaining(domain, indices) for domain, indices in self.domain_dict.items()}
        order: list[int] = []
        stop = False
        while not stop:
            for domain in self._domains_of_a_batch():
                order += left[domain].draw(self.n_img_per_domain)
                stop |= len(left[domain]) < self.n_img_per_domain
        return order


class SeqDomainSampler(RandomDomainSampler):
    """Like :class:`RandomDomainSampler` with all domains, in ascending order within each batch."""

    def __init__(self, data_source: Sequence[Datum], batch_size: int) -> None:
        super().__init__(data_source, batch_size, n_domain=0)

    def _domains_of_a_batch(self) -> list[int]:
        return sorted(self.domains)


class RandomClassSampler(_PlannedSampler):
    """Batches of ``batch_size / n_ins`` random classes with ``n_ins`` images each.

    Raises:
        UserError: a batch smaller than ``n_ins``, or with more classes than there are.
    """

    def __init__(self, data_source: Sequence[Datum], batch_size: int, n_ins: int) -> None:
        if batch_size < n_ins:
            raise UserError(f"DATALOADER.TRAIN_X.BATCH_SIZE {batch_size} is below N_INS {n_ins}")
        self.index_dic = _indices_by(data_source, "label")
        self.labels = list(self.index_dic)
        self.n_ins = n_ins
        self.ncls_per_batch = batch_size // n_ins
        if self.ncls_per_batch > len(self.labels):
            raise UserError(
                f"DATALOADER.TRAIN_X: BATCH_SIZE {batch_size} / N_INS {n_ins} needs {self.ncls_per_batch} "
                f"classes, but the data has {len(self.labels)}"
            )
        self.length = len(self._plan())

    def _plan(self) -> list[int]:
        chunks = {label: self._chunks(indices) for label, indices in self.index_dic.items()}
        labels = list(self.labels)
        order: list[int] = []
        while len(labels) >= self.ncls_per_batch:
            for label in random.sample(labels, self.ncls_per_batch):
                order += chunks[label].pop(0)
                if not chunks[label]:
                    labels.remove(label)
        return order

    def _chunks(self, indices: list[int]) -> list[list[int]]:
        """Shuffle the images of one class into full groups of ``n_ins``, repeating images if there are too few."""
        if len(indices) < self.n_ins:
            shuffled = np.random.choice(indices, size=self.n_ins, replace=True).tolist()
        else:
            shuffled = list(indices)
        random.shuffle(shuffled)
        ends = range(self.n_ins, len(shuffled) + 1, self.n_ins)
        return [shuffled[end - self.n_ins : end] for end in ends]


def _indices_by(data_source: Sequence[Datum], field: str) -> dict[int, list[int]]:
    groups = defaultdict(list)
    for index, item in enumerate(data_source):
        groups[getattr(item, field)].append(index)
    return dict(groups)


class _Remaining:
    """Indices of one domain that are still to be drawn, in their order.

    Taking an index out of a list moves all behind it, for every image of an epoch. Here a block alone is moved, and
    the blocks before it are counted together.
    """

    BLOCK = 512

    def __init__(self, domain: int, indices: list[int]) -> None:
        self.domain = domain
        self.blocks = [indices[at : at + self.BLOCK] for at in range(0, len(indices), self.BLOCK)]
        self.sizes = np.array([len(block) for block in self.blocks], dtype=np.int64)
        self.size = len(indices)

    def __len__(self) -> int:
        return self.size

    def draw(self, count: int) -> list[int]:
        """Draw ``count`` of them as ``random.sample`` would from their list, and take them out.

        Raises:
            UserError: fewer are left.
        """
        if self.size < count:
            raise UserError(
                f"domain {self.domain} has fewer images than its {count} places in one batch; "
                "lower DATALOADER.TRAIN_X.BATCH_SIZE"
            )
        places = random.sample(range(self.size), count)
        ends = self.sizes.cumsum()
        blocks = np.searchsorted(ends, places, side="right").tolist()
        inside = [place - int(ends[b] - self.sizes[b]) for b, place in zip(blocks, places, strict=True)]
        drawn = [self.blocks[b][at] for b, at in zip(blocks, inside, strict=True)]
        for b, at in sorted(zip(blocks, inside, strict=True), reverse=True):  # later places first, which moves no other
            del self.blocks[b][at]
            self.sizes[b] -= 1
        self.size -= count
        return drawn


def build_sampler(
    sampler_type: str,
    cfg: object = None,
    data_source: Sequence[Datum] | None = None,
    batch_size: int = 32,
    n_domain: int = 0,
    n_ins: int = 16,
) -> Sampler[int]:
    """Build the sampler called ``sampler_type``.

    Raises:
        UserError: an unknown name, or sizes that the sampler refuses.
    """
    builders = {
        "RandomSampler": lambda: RandomSampler(data_source),
        "SequentialSampler": lambda: SequentialSampler(data_source),
        "RandomDomainSampler": lambda: RandomDomainSampler(data_source, batch_size, n_domain),
        "SeqDomainSampler": lambda: SeqDomainSampler(data_source, batch_size),
        "RandomClassSampler": lambda: RandomClassSampler(data_source, batch_size, n_ins),
    }
    if sampler_type not in builders:
        raise UserError(
            f"DATALOADER sampler {sampler_type!r} is unknown{suggest(sampler_type, builders)} "
            f"(allowed: {', '.join(builders)})"
        )
    return builders[sampler_type]()
