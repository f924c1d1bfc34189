"""Resampled figures agree with scikit-learn; intervals hold the truth as often as they say; differences are paired."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from include.target import BINARY
from include.training.intervals import Interval, Ranks, Resamples, interval
from include.training.metrics import loss as loss_of

ROW = st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 5))
#: Rows of a population whose AUC is known: scores of positives are drawn one standard deviation higher.
TRUE_AUC = 0.76025  # Φ(1 / √2)


def population(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (random.random(n) < 0.3).astype(np.float32)
    return labels, 1 / (1 + np.exp(-random.normal(size=n) - labels))


@given(st.lists(ROW, min_size=2, max_size=60))
@settings(max_examples=200)
def test_the_weighted_area_is_scikit_learns_with_ties_and_rows_left_out(drawn: list[tuple[bool, int, int]]) -> None:
    labels, scores, weights = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    ranks = Ranks.of(labels, scores)
    found = ranks.auc(np.stack([weights, np.ones(len(labels))])[:, ranks.order])
    for auc, weight in zip(found, (weights, np.ones(len(labels))), strict=True):
        if len(np.unique(labels[weight > 0])) < 2:
            assert np.isnan(auc)
        else:
            assert auc == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight), abs=1e-12)


@pytest.mark.parametrize(("days", "unit", "units"), [(4, "row", 240), (5, "day", 5), (30, "day", 30)])
def test_days_are_drawn_whole_where_there_are_enough(days: int, unit: str, units: int) -> None:
    resamples = Resamples.draw(np.repeat([f"d{i}" for i in range(days)], 240 // days), seed=0, resamples=50)
    assert (resamples.unit, resamples.units) == (unit, units)
    assert resamples.counts.sum(axis=1).tolist() == [units] * 50


def test_a_resample_is_the_figure_of_the_rows_drawn() -> None:
    random = np.random.default_rng(4)
    labels, probabilities = population(random, 300)
    days = random.integers(0, 10, 300).astype(str)
    resamples = Resamples.draw(days, seed=1, resamples=7)
    auc, loss = resamples.skill(BINARY, labels, probabilities), resamples.loss(BINARY, labels, probabilities)
    for i, counts in enumerate(resamples.counts):
        rows = np.concatenate([np.flatnonzero(resamples.unit_of == u) for u in range(10) for _ in range(counts[u])])
        assert auc[i] == pytest.approx(roc_auc_score(labels[rows], probabilities[rows]), abs=1e-12)
        assert loss[i] == pytest.approx(loss_of(BINARY, labels[rows], probabilities[rows]), abs=1e-12)


@pytest.mark.parametrize("days", [1, 40])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(days: int) -> None:
    random, held = np.random.default_rng(0), 0
    for seed in range(100):
        labels, probabilities = population(random, 400)
        resamples = Resamples.draw(np.arange(400) % days, seed, resamples=200)
        found = interval(resamples.skill(BINARY, labels, probabilities))
        held += found.low <= TRUE_AUC <= found.high
    assert 87 <= held <= 99


def test_days_that_differ_make_the_interval_wider_than_rows_would() -> None:
    """On half the days the model is right and on half it is wrong: only drawing days shows how unsure the mean is."""
    random = np.random.default_rng(2)
    labels, probabilities = population(random, 6000)
    days = np.repeat(np.arange(12), 500)
    probabilities = np.where(days % 2 == 0, probabilities, 1 - probabilities)
    by_day = interval(Resamples.draw(days, seed=0, resamples=300).skill(BINARY, labels, probabilities))
    by_row = interval(Resamples.draw(np.zeros(6000), seed=0, resamples=300).skill(BINARY, labels, probabilities))
    assert by_day.high - by_day.low > 3 * (by_row.high - by_row.low)


def test_two_models_are_compared_on_the_same_resamples() -> None:
    """A rival that is the candidate with a little noise: alone both are unsure, their difference is not."""
    random = np.random.default_rng(3)
    labels, probabilities = population(random, 2000)
    rival = np.clip(probabilities + random.normal(scale=1e-3, size=2000), 0, 1)
    resamples = Resamples.draw(np.arange(2000) % 20, seed=0)
    alone, other = resamples.skill(BINARY, labels, probabilities), resamples.skill(BINARY, labels, rival)
    lead, own = interval(alone - other), interval(alone)
    assert lead.high - lead.low < 0.05 * (own.high - own.low)
    again = Resamples.draw(np.arange(2000) % 20, seed=0).skill(BINARY, labels, probabilities)
    np.testing.assert_array_equal(alone, again)


def test_resamples_of_one_class_are_left_out() -> None:
    assert interval(np.array([np.nan, 0.4, 0.6, np.nan])) == Interval(pytest.approx(0.405), pytest.approx(0.595))
