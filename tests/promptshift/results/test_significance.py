"""Paired tests against scipy and numpy."""

import numpy as np
import pytest
from scipy import stats

from promptshift.results.significance import compare

METHOD = {("sketch", 1): 80.5, ("sketch", 2): 81.25, ("photo", 1): 92.0, ("photo", 2): 90.0, ("art", 1): 70.0}
BASELINE = {("sketch", 1): 79.0, ("sketch", 2): 80.5, ("photo", 1): 92.5, ("photo", 2): 88.75, ("cartoon", 1): 1.0}


def test_only_common_pairs_count_and_numbers_are_those_of_scipy():
    shared = [key for key in METHOD if key in BASELINE]
    a, b = [METHOD[key] for key in shared], [BASELINE[key] for key in shared]
    found = compare(METHOD, BASELINE)
    assert found.n == 4
    assert found.difference == pytest.approx(np.mean(np.subtract(a, b)), abs=1e-12)
    reference = stats.ttest_rel(a, b)
    assert found.t_p == pytest.approx(reference.pvalue, rel=1e-9)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-12)


def test_one_pair_and_equal_differences_have_no_interval():
    one = compare({"a": 3.0}, {"a": 1.0})
    assert (one.n, one.difference, one.low, one.t_p, one.wilcoxon_p) == (1, 2.0, None, None, None)
    equal = compare({"a": 3.1, "b": 4.1, "c": 5.1}, {"a": 1.0, "b": 2.0, "c": 3.0})  # 2.1 but for rounding
    assert equal.low is None and equal.t_p is None and equal.wilcoxon_p == 0.25
    same = compare({"a": 3.0, "b": 4.0}, {"a": 3.0, "b": 4.0})
    assert (same.difference, same.t_p, same.wilcoxon_p) == (0.0, None, None)


def test_nothing_in_common_is_nothing():
    assert compare({"a": 1.0}, {"b": 1.0}) is None
