"""Paired comparison of two methods over the cells that both have (the same target and the same seed)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping

from promptshift.results.statistics import mean, sample_std


@dataclasses.dataclass(frozen=True)
class Paired:
    """Differences of a method to a baseline, in percentage points.

    Attributes:
        n: number of pairs.
        difference: mean of method - baseline.
        low, high: 95 % interval of it by Student's t with n - 1 degrees of freedom; None for fewer than two pairs or
            where all differences are equal.
        t_p: two-sided p-value of the paired t-test, None under the same conditions.
        wilcoxon_p: two-sided p-value of the Wilcoxon signed-rank test (scipy's choice of exact or approximate); None
            for fewer than two pairs or where no difference is non-zero.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    t_p: float | None
    wilcoxon_p: float | None


def compare(method: Mapping[Hashable, float], baseline: Mapping[Hashable, float]) -> Paired | None:
    """Return the comparison over the keys that both have, None where there are none.

    Args:
        method, baseline: accuracy in percent by pair, e.g. by (target, seed).
    """
    from scipy import stats

    keys = [key for key in method if key in baseline]
    if not keys:
        return None
    differences = [method[key] - baseline[key] for key in keys]
    n, average = len(keys), mean(differences)
    wilcoxon_p = float(stats.wilcoxon(differences).pvalue) if n > 1 and any(differences) else None
    spread = sample_std(differences) if n > 1 else 0.0
    if spread <= 1e-9 * max(1.0, abs(average)):  # rounding errors of equal differences are no spread
        return Paired(n, average, None, None, None, wilcoxon_p)
    error = spread / math.sqrt(n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    t_p = 2 * float(stats.t.sf(abs(average) / error, n - 1))
    return Paired(n, average, average - half, average + half, t_p, wilcoxon_p)
