"""Level and temperature: both are found where they are, and neither is made of chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from include.target import BINARY
from include.training.calibration import fit_shift, fit_temperature

DAYS = np.repeat(np.array([f"2020-01-{day:02d}" for day in range(1, 29)], dtype=object), 500)


def drawn(slope: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of logits that are ``slope`` times too small."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=len(DAYS))
    return (random.random(len(DAYS)) < expit(slope * logits - 1.0)).astype(np.float32), logits


def repeated(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Well calibrated, but only 10 different rows a day, each told 50 times: they say no more than 10."""
    labels, logits = drawn(1.0, seed)
    chosen = np.concatenate([np.repeat(np.arange(day * 500, day * 500 + 10), 50) for day in range(28)])
    return labels[chosen], logits[chosen], DAYS


@settings(max_examples=50)
@given(st.integers(0, 1000), st.floats(-8, 8))
def test_a_shift_brings_the_mean_to_the_share(seed: int, off: float) -> None:
    labels, logits = drawn(1.0, seed)
    shift = fit_shift(BINARY, labels, logits + off)
    assert expit(logits + off + shift).mean() == pytest.approx(labels.mean(dtype=np.float64), abs=1e-9)


@pytest.mark.parametrize("slope", [0.5, 2.0])
def test_logits_that_are_too_sharp_or_too_flat_are_mended(slope: float) -> None:
    labels, logits = drawn(slope, seed=1)
    assert fit_temperature(BINARY, labels, logits, DAYS) == pytest.approx(1.0 / slope, rel=0.1)


def test_a_level_of_its_own_is_no_temperature() -> None:
    labels, logits = drawn(1.0, seed=2)
    assert fit_temperature(BINARY, labels, logits + 1.0, DAYS) == 1.0


def test_what_chance_may_have_made_is_left_alone() -> None:
    assert np.mean([fit_temperature(BINARY, *drawn(1.0, seed), DAYS) == 1.0 for seed in range(40)]) > 0.85
    assert np.mean([fit_temperature(BINARY, *repeated(seed)) == 1.0 for seed in range(40)]) > 0.85


@pytest.mark.parametrize("labels", [np.zeros(14_000), np.ones(14_000)], ids=["no positives", "no negatives"])
def test_one_class_teaches_nothing(labels: np.ndarray) -> None:
    logits = np.linspace(-1.0, 1.0, 14_000)
    assert (fit_shift(BINARY, labels, logits), fit_temperature(BINARY, labels, logits, DAYS)) == (0.0, 1.0)


def test_one_day_teaches_no_temperature() -> None:
    labels, logits = drawn(3.0, seed=3)
    assert fit_temperature(BINARY, labels, logits, np.full(len(labels), "2020-01-01", dtype=object)) == 1.0
