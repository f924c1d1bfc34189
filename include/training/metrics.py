"""How good answers are: for probabilities AUC, log-loss, Brier score; for counts D², Poisson deviance, absolute error.

And for both the calibration error. Labels and answers have length n; what kind they are is the ``Target``'s word. It
does not know whose answers they are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from sklearn.metrics import brier_score_loss, mean_absolute_error, roc_auc_score

from include.target import Target

Doubles = NDArray[np.float64]

CALIBRATION_BINS = 15
ROWS_A_BIN = 100
#: Answers are kept this far from 0 (probabilities from 1, too), so that one wrong certainty does not make the loss
#: infinite.
EDGE = 1e-7


@dataclass(frozen=True)
class Quality:
    """The figures of one set of answers against the labels."""

    target: Target
    rows: int
    skill: float
    loss: float
    error: float
    calibration_error: float

    def to_json(self) -> dict[str, float | int]:
        """The figures as a JSON object, by their names for this target."""
        values = self.skill, self.loss, self.error, self.calibration_error
        figures = {metric.name: value for metric, value in zip(self.target.metrics, values, strict=True)}
        return {"rows": self.rows, **figures}


def quality(target: Target, labels: NDArray[Any], answers: Doubles) -> Quality:
    """All figures at once; raises ``ValueError`` if all labels are alike."""
    return Quality(
        target=target,
        rows=len(labels),
        skill=skill(target, labels, answers),
        loss=loss(target, labels, answers),
        error=error(target, labels, answers),
        calibration_error=calibration_error(target, labels, answers),
    )


def skill(target: Target, labels: NDArray[Any], answers: Doubles) -> float:
    """AUC, or D²; raises ``ValueError`` if all labels are alike."""
    if target.kind == "binary":
        return area_under_curve(labels, answers)
    if len(np.unique(labels)) < 2:
        raise ValueError("D² needs labels that differ")
    knowing_nothing = np.full(len(labels), np.mean(labels, dtype=np.float64))
    return 1.0 - loss(target, labels, answers) / loss(target, labels, knowing_nothing)


def skill_if_any(target: Target, labels: NDArray[Any], answers: Doubles) -> float | None:
    """The skill, or ``None`` where all labels are alike."""
    return skill(target, labels, answers) if len(np.unique(labels)) > 1 else None


def loss(target: Target, labels: NDArray[Any], answers: Doubles) -> float:
    """What training lowers: mean log-loss in nats, or mean Poisson deviance."""
    return float(row_losses(target, labels, answers).mean())


def error(target: Target, labels: NDArray[Any], answers: Doubles) -> float:
    """Brier score, or mean absolute error."""
    return float((brier_score_loss if target.kind == "binary" else mean_absolute_error)(labels, answers))


def area_under_curve(labels: NDArray[Any], probabilities: Doubles) -> float:
    """Area under the ROC curve; raises ``ValueError`` if there is only one class."""
    if len(np.unique(labels)) < 2:
        raise ValueError("the area under the ROC curve needs labels of both classes")
    return float(roc_auc_score(labels, probabilities))


def row_losses(target: Target, labels: NDArray[Any], answers: Doubles) -> Doubles:
    """The loss of each row, float64 ``[n]``: negative log-likelihood in nats, or Poisson deviance."""
    y, given = np.asarray(labels, dtype=np.float64), np.asarray(answers, dtype=np.float64)
    losses: Doubles
    if target.kind == "binary":
        p = np.clip(given, EDGE, 1.0 - EDGE)
        losses = -(y * np.log(p) + (1.0 - y) * np.log1p(-p))
    else:
        mean = np.maximum(given, EDGE)
        losses = 2.0 * (xlogy(y, y / mean) - y + mean)
    return losses


def calibration_error(target: Target, labels: NDArray[Any], answers: Doubles, bins: int | None = None) -> float:
    """Mean |mean label - mean answer| over bins of equal count, answers rising; for counts by the mean label.

    For probabilities it is the expected calibration error. 0 if all labels are 0. By default a bin has ``ROWS_A_BIN``
    rows at least, as the error of fewer is mostly chance, and there are ``CALIBRATION_BINS`` at most. Rows of one
    answer count with their mean label: which of them come first says nothing.
    """
    bins = bins or max(1, min(CALIBRATION_BINS, len(labels) // ROWS_A_BIN))
    distinct, place, counts = np.unique(np.asarray(answers, np.float64), return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=np.asarray(labels, dtype=np.float64)) / counts
    ranked = np.repeat(np.arange(len(distinct)), counts)
    y, p = np.array_split(means[ranked], bins), np.array_split(distinct[ranked], bins)
    off = sum(len(a) * abs(float(a.mean() - b.mean())) for a, b in zip(y, p, strict=True) if len(a)) / len(labels)
    mean = float(np.mean(labels, dtype=np.float64))
    return off if target.kind == "binary" else off / mean if mean else 0.0
