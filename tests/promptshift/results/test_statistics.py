"""Statistics against numpy and scipy."""

import numpy as np
import pytest
from scipy import stats

from promptshift.results import statistics

SEEDS = [92.31, 91.875, 93.5]


def test_spreads_equal_numpy():
    assert statistics.mean(SEEDS) == pytest.approx(np.mean(SEEDS), abs=1e-12)
    assert statistics.population_std(SEEDS) == pytest.approx(np.std(SEEDS), abs=1e-12)
    assert statistics.sample_std(SEEDS) == pytest.approx(np.std(SEEDS, ddof=1), abs=1e-12)


def test_ci95_equals_the_normal_interval_with_the_population_std():
    low, high = stats.norm.interval(0.95, loc=0, scale=np.std(SEEDS) / np.sqrt(len(SEEDS)))
    assert statistics.ci95(SEEDS) == pytest.approx((high - low) / 2, rel=1e-4)


def test_harmonic_mean_is_of_the_means_not_the_mean_of_harmonic_means():
    base, new = [80.0, 90.0], [60.0, 80.0]
    assert statistics.harmonic_mean(base, new) == pytest.approx(stats.hmean([np.mean(base), np.mean(new)]))
    per_seed = np.mean([stats.hmean(pair) for pair in zip(base, new, strict=True)])
    assert statistics.harmonic_mean(base, new) != pytest.approx(per_seed, abs=1e-3)
    assert statistics.harmonic_mean([0.0], [50.0]) == 0.0
