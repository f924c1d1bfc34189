"""Intervals and tests against known answers, and against chance itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from include.inference import benjamini_hochberg, difference, stability_index, wilson

RANDOM = np.random.default_rng(7)


@settings(max_examples=40)
@given(st.integers(0, 500), st.integers(1, 500))
def test_wilsons_interval_is_scipys(positives: int, more: int) -> None:
    rows = positives + more
    expected = stats.binomtest(positives, rows).proportion_ci(0.95, "wilson")
    assert wilson(positives, rows) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_rows_nothing_is_known() -> None:
    assert all(math.isnan(end) for end in wilson(0, 0))
    none = np.zeros(8)
    assert math.isnan(difference(none, none, none + 1, none).value)


def days_of(rate: float, days: int, shock: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts per day of 100 rows each, with a shock that all rows of a day share."""
    rates = np.clip(rate + RANDOM.normal(0, shock, days), 0, 1)
    return np.full(days, 100.0), RANDOM.binomial(100, rates).astype(float)


def test_a_test_finds_what_is_there() -> None:
    rows, positives = days_of(0.35, 60, 0.1)
    base_rows, base_positives = days_of(0.20, 60, 0.1)
    found = difference(rows, positives, base_rows, base_positives)
    assert found.p_value < 0.001
    assert found.low < 0.15 < found.high


def test_days_that_differ_as_a_whole_are_not_taken_for_a_difference() -> None:
    """Of 400 comparisons of equals about 5 % are "significant"; a test that forgets the days finds far more."""
    clustered = naive = 0
    for _ in range(400):
        (rows, positives), (base_rows, base_positives) = days_of(0.3, 30, 0.12), days_of(0.3, 30, 0.12)
        clustered += difference(rows, positives, base_rows, base_positives).p_value < 0.05
        table = [[positives.sum(), 3000 - positives.sum()], [base_positives.sum(), 3000 - base_positives.sum()]]
        naive += stats.chi2_contingency(table, correction=False).pvalue < 0.05
    assert 5 <= clustered <= 40
    assert naive > 100


def test_few_days_have_no_test() -> None:
    rows, positives = days_of(0.3, 4, 0.0)
    found = difference(rows, positives, rows, positives)
    assert found.value == 0.0 and math.isnan(found.p_value)


def test_q_values_keep_their_order_and_let_unknown_ones_be() -> None:
    found = benjamini_hochberg([0.04, math.nan, 0.01, 0.03])
    assert found[2] == pytest.approx(0.03) and found[0] == found[3] == pytest.approx(0.04)
    assert math.isnan(found[1])
    assert benjamini_hochberg([]) == []


def test_drift_is_none_for_equal_shapes_and_grows_with_the_shift() -> None:
    before = np.array([100.0, 100, 100, 100])
    assert stability_index(before * 3, before) < 0.001
    small, large = (stability_index(np.array(now), before) for now in ([110.0, 100, 100, 90], [300.0, 60, 30, 10]))
    assert small < 0.02 < 0.25 < large
    assert stability_index(np.array([0.0, 200, 0, 200]), before) < math.inf


def test_what_is_no_share_has_no_interval_of_one() -> None:
    assert np.isnan(wilson(7, 3)).all() and np.isnan(wilson(0, 0)).all()


def test_means_of_counts_are_compared_like_shares() -> None:
    random = np.random.default_rng(0)
    rows = np.full(40, 24.0)
    counts, more = random.poisson(24 * 100.0, 40), random.poisson(24 * 110.0, 40)
    found = difference(rows, more.astype(float), rows, counts.astype(float))
    assert found.low < 10.0 < found.high and found.low > 8.0
    assert found.p_value < 1e-6
