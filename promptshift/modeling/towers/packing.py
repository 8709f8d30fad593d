"""Class names side by side in few sequences, each behind the one context that they share.

Attention is causal, and a class name must see its context and itself alone. So the end of one name may stand beside
the beginning of the next: a mask keeps them apart, no token is padding but the last ones of a sequence, and a layer
of the tower is as few operations as one plain sequence takes.
tests/promptshift/modeling/towers/test_text_tower.py holds the features equal to the plain run.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the suffixes of K classes stand in R sequences of T tokens, all of which begin with P shared tokens.

    C is the largest number of classes in a sequence.

    Attributes:
        tokens: (R, T - P) of every place behind the prefix, its token among the (K * S) of all suffixes.
        positions: (R, T) place of a token in its own prompt, 0 .. P + S - 1.
        mask: (R, 1, T, T) what is added to the attention: 0 where a token may look, else minus infinity.
        pooled: (R, C) where the last tokens of the classes stand.
        order: (K,) the place of every class among the (R * C) pooled ones.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    pooled: Tensor
    order: Tensor

    def split(self, most: int) -> Iterator[Packing]:
        """The packing in parts of as many sequences as hold `most` tokens, one at least; `order` stays the whole's."""
        size = max(1, most // self.positions.shape[1])
        parts = (t.split(size) for t in (self.tokens, self.positions, self.mask, self.pooled))
        return (Packing(*part, self.order) for part in zip(*parts))


def room_for(width: int, start: int, most: int) -> int:
    """Tokens of classes for which a sequence pays off, in a tower of width D behind P = `start` tokens.

    A token costs about 12 D^2 products in the layers and T D in each of the attention's two; a sequence repeats the
    prefix. The sum of both extras, T / 6D + P / T of the work, is least at the root of 6 D P.

    Args:
        most: tokens that a whole sequence may have.
    """
    return max(1, min(round(math.sqrt(6 * width * start)), most - start))


@functools.lru_cache(maxsize=32)
def pack(
    lengths: tuple[int, ...], suffix_length: int, start: int, room: int, dtype: torch.dtype, device: torch.device
) -> Packing:
    """Distribute suffixes over sequences.

    Args:
        lengths: tokens of each class's suffix, its end-of-text token included, 1 .. suffix_length.
        suffix_length: S, tokens of the suffixes as they are stored.
        start: P, tokens of the prefix.
        room: tokens of classes that a sequence holds, as far as one class allows.
        dtype, device: what the mask is added to, and where the tensors are wanted.
    """
    rows = _distribute(lengths, room)
    length = start + max(sum(lengths[k] for k in row) for row in rows)
    classes = max(map(len, rows))
    tokens = torch.zeros(len(rows), length - start, dtype=torch.long)
    positions = torch.arange(length).clamp(max=start).repeat(len(rows), 1)
    owner = torch.full((len(rows), length), -1)  # the class of a token; -1 the prefix
    pooled = torch.zeros(len(rows), classes, dtype=torch.long)
    order = torch.empty(len(lengths), dtype=torch.long)
    for r, row in enumerate(rows):
        at = start
        for c, k in enumerate(row):
            end = at + lengths[k]
            tokens[r, at - start : end - start] = k * suffix_length + torch.arange(lengths[k])
            positions[r, at:end] = start + torch.arange(lengths[k])
            owner[r, at:end] = k
            pooled[r, c] = end - 1
            order[k] = r * classes + c
            at = end
        owner[r, at:] = -2 - torch.arange(length - at)  # padding sees itself and the prefix, and nobody sees it
        pooled[r, len(row) :] = pooled[r, 0]
    seen = (owner[:, :, None] == owner[:, None, :]) | (owner == -1)[:, None, :]
    seen &= torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -math.inf).unsqueeze(1)
    return Packing(*(t.to(device) for t in (tokens, positions, mask, pooled, order)))


def _distribute(lengths: tuple[int, ...], room: int) -> list[list[int]]:
    """Classes in as few rows as `room` tokens a row allow, about equally full: the longest first, to the emptiest."""
    count = min(len(lengths), max(1, math.ceil(sum(lengths) / room)))
    rows, filled = [[] for _ in range(count)], [0] * count
    for k in sorted(range(len(lengths)), key=lambda k: -lengths[k]):
        r = min(range(count), key=filled.__getitem__)
        rows[r].append(k)
        filled[r] += lengths[k]
    return rows
