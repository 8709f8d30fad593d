"""Statistics over seeds and over columns; all take percentages or any other finite numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

mean = statistics.fmean


def population_std(values: Sequence[float]) -> float:
    """Return the standard deviation with divisor n (numpy's default, what CoOp's tables print)."""
    return statistics.pstdev(values)


def sample_std(values: Sequence[float]) -> float:
    """Return the standard deviation with divisor n - 1.

    Raises:
        statistics.StatisticsError: fewer than two values.
    """
    return statistics.stdev(values)


def ci95(values: Sequence[float]) -> float:
    """Return the half width of the 95 % interval that Dassl's `compute_ci95` defines.

    1.96 * population std / sqrt(n). For the usual three seeds this normal approximation is too narrow
    (Student's t would be 4.30 instead of 1.96); it is kept because published tables use it.
    """
    return 1.96 * population_std(values) / math.sqrt(len(values))


def harmonic_mean(base: Sequence[float], new: Sequence[float]) -> float:
    """Return 2BN / (B + N) of the means B over `base` and N over `new`; 0 when either mean is 0.

    The mean over seeds comes first and the harmonic mean second, as in CoCoOp (arXiv 2203.05557).
    """
    b, n = mean(base), mean(new)
    return 2 * b * n / (b + n) if b > 0 and n > 0 else 0.0
