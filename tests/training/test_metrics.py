"""The figures agree with scikit-learn where it has them, and the calibration error with a case done by hand."""

import numpy as np
import pytest
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


def test_one_class_has_no_area_under_the_curve() -> None:
    with pytest.raises(ValueError, match="both classes"):
        quality(BINARY, np.ones(5, dtype=np.float32), np.full(5, 0.5))
