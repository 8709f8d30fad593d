"""Numbers as sentences, with their uncertainty."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from promptshift.results.significance import compare

# what runs are paired over: one, several
PAIRS = ("pair of domain and seed", "pairs of domain and seed")
SEEDS = ("seed", "seeds")
DOMAINS = ("held-out domain", "held-out domains")


def compared(
    first: str,
    a: Mapping[Hashable, float],
    second: str,
    b: Mapping[Hashable, float],
    unit: tuple[str, str] = PAIRS,
    looked_at: str = "runs",
) -> str:
    """Return how `first` differs from `second` over the pairs that both have, and whether the runs can tell.

    Args:
        first, second: names.
        a, b: accuracy in percent by pair, e.g. by (domain, seed).
        unit: what a pair is, for one and for several.
        looked_at: what the numbers are of.
    """
    paired = compare(a, b)
    if paired is None:
        return f"{first} and {second} have no pair in common."
    start = f"{first} against {second}: {paired.difference:+.2f} points over {paired.n} {unit[paired.n > 1]}"
    if paired.low is None:
        equal = "the same in every pair" if paired.n > 1 else "one pair has no uncertainty to state"
        return f"{start} ({equal})."
    interval = f"95 % interval {paired.low:+.2f} to {paired.high:+.2f}, paired t-test p = {paired.t_p:.3f}"
    return f"{start} ({interval}): {_reading(paired.low, paired.high, looked_at)}."


def _reading(low: float, high: float, looked_at: str) -> str:
    if low > 0:
        return f"higher beyond the spread of these {looked_at}"
    if high < 0:
        return f"lower beyond the spread of these {looked_at}"
    return f"these {looked_at} do not tell them apart"


def correlated(what: str, x: list[float], y: list[float]) -> tuple[str, dict[str, float] | None]:
    """Return Spearman's correlation of x and y in words, and the least-squares line through the points.

    Args:
        what: names both quantities.
        x, y: at least three points; with fewer, or where one of them is constant, there is no correlation.
    """
    from scipy import stats

    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return f"{what}: no correlation can be computed from {len(x)} points of which all are equal or too few.", None
    rank, line = stats.spearmanr(x, y), stats.linregress(x, y)
    low, high = _fisher(float(rank.statistic), len(x))
    reading = "above 0" if low > 0 else "below 0" if high < 0 else "not distinguishable from 0"
    text = (
        f"{what}: Spearman correlation {rank.statistic:+.2f} over {len(x)} points (approximate 95 % interval "
        f"{low:+.2f} to {high:+.2f}, p = {rank.pvalue:.3f}), {reading}."
    )
    return text, {"slope": float(line.slope), "intercept": float(line.intercept)}


def _fisher(r: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a correlation by Fisher's transformation, (-1, 1) for fewer than four points."""
    import numpy as np

    if n < 4 or abs(r) >= 1:
        return (-1.0, 1.0) if abs(r) < 1 else (r, r)
    z, half = np.arctanh(r), 1.959964 / np.sqrt(n - 3)
    return float(np.tanh(z - half)), float(np.tanh(z + half))
