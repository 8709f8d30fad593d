"""Timing two formulations of one computation in turn, and comparing what they return."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Row:
    """One line of the table: seconds are medians of paired runs, the ratio is the median of the pairs' ratios."""

    what: str
    plain: float
    ours: float
    ratio: float
    difference: float
    goal: str = ""

    def cells(self) -> list:
        return [
            self.what,
            f"{self.plain:.3f}",
            f"{self.ours:.4f}",
            f"{self.ratio:.1f}x",
            self.goal,
            f"{self.difference:.1e}",
        ]


HEADER = ["what", "plain (s)", "ours (s)", "ratio", "goal", "largest difference"]


def compare(
    what: str,
    plain: Callable[[], Tensor],
    ours: Callable[[], Tensor],
    runs: int = 3,
    goal: str = "",
    tolerance: float = 1e-4,
    share: float = 1.0,
) -> Row:
    """Runs both in turn, A B A B, after one warm-up of `ours`.

    Args:
        share: how much of `ours`' work `plain` does (it may be given fewer images); times are scaled by it and the
            outputs compared on the common leading rows.

    Raises:
        AssertionError: the outputs differ by more than `tolerance`.
    """
    ours()
    seconds, outputs = [], None
    for _ in range(runs):
        first, slow = clock(plain)
        second, fast = clock(ours)
        seconds.append((slow / share, fast))
        outputs = first, second
    difference = float((outputs[0] - outputs[1][: len(outputs[0])]).abs().max())
    assert difference <= tolerance, f"{what}: outputs differ by {difference}"
    slow, fast = (statistics.median(column) for column in zip(*seconds))
    return Row(what, slow, fast, statistics.median(s / f for s, f in seconds), difference, goal)


def clock(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What `run` returns, on the CPU, and how long it took, in seconds."""
    _wait()
    start = time.perf_counter()
    result = run()
    _wait()
    return result.detach().float().cpu(), time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
