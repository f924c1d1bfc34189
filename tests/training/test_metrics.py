"""The figures agree with scikit-learn where it has them, and the calibration error with a case done by hand."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from include.target import BINARY
from include.training.metrics import calibration_error, quality

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.random(2000)
LABELS = (RANDOM.random(2000) < PROBABILITIES).astype(np.float32)


def test_figures_agree_with_scikit_learn() -> None:
    figures = quality(BINARY, LABELS, PROBABILITIES)
    assert figures.rows == 2000
    assert figures.skill == pytest.approx(roc_auc_score(LABELS, PROBABILITIES))
    assert figures.loss == pytest.approx(sklearn_log_loss(LABELS, PROBABILITIES))
    assert figures.error == pytest.approx(brier_score_loss(LABELS, PROBABILITIES))
    assert figures.calibration_error < 0.05


def test_calibration_error_of_a_case_done_by_hand() -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.float32)
    probabilities = np.array([0.1, 0.3, 0.6, 0.8])
    assert calibration_error(BINARY, labels, probabilities, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.3)


@given(st.lists(st.sampled_from([0.1, 0.4, 0.5]), min_size=250, max_size=400), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_calibration_error_does_not_depend_on_the_order_of_rows(answers: list[float], random: Random) -> None:
    rows = [(random.random() < 0.4, answer) for answer in answers]
    shuffled = random.sample(rows, len(rows))
    errors = [calibration_error(BINARY, *map(np.array, zip(*some, strict=True))) for some in (rows, shuffled)]
    assert errors[0] == pytest.approx(errors[1])


def test_one_answer_for_all_is_calibrated_if_it_is_their_mean() -> None:
    labels = np.repeat([0.0, 1.0], 5000)
    assert calibration_error(BINARY, labels, np.full(10_000, 0.5)) == 0.0


def test_few_rows_are_one_bin() -> None:
    labels = np.random.default_rng(0).random(199) < 0.25
    probabilities = np.linspace(0.24, 0.26, 199)
    assert calibration_error(BINARY, labels, probabilities) == pytest.approx(abs(labels.mean() - 0.25))


def test_one_class_has_no_area_under_the_curve() -> None:
    with pytest.raises(ValueError, match="both classes"):
        quality(BINARY, np.ones(5, dtype=np.float32), np.full(5, 0.5))
