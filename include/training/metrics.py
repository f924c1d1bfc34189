"""How good probabilities are: AUC, log-loss, Brier score and calibration error.

Labels are 0 or 1, probabilities float64 in [0, 1], both of length n. It does not know whose probabilities they are.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, roc_auc_score

CALIBRATION_BINS = 15
#: Probabilities are kept this far from 0 and 1, so that one wrong certainty does not make the log-loss infinite.
EDGE = 1e-7


@dataclass(frozen=True)
class Quality:
    """The figures of one set of probabilities against the labels."""

    rows: int
    auc: float
    log_loss: float
    brier: float
    calibration_error: float

    def to_json(self) -> dict[str, float | int]:
        """The figures as a JSON object."""
        return asdict(self)


def quality(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> Quality:
    """All figures at once; raises ``ValueError`` if there is only one class of labels."""
    return Quality(
        rows=len(labels),
        auc=area_under_curve(labels, probabilities),
        log_loss=log_loss(labels, probabilities),
        brier=float(brier_score_loss(labels, probabilities)),
        calibration_error=calibration_error(labels, probabilities),
    )


def area_under_curve(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """Area under the ROC curve; raises ``ValueError`` if there is only one class."""
    if len(np.unique(labels)) < 2:
        raise ValueError("the area under the ROC curve needs labels of both classes")
    return float(roc_auc_score(labels, probabilities))


def log_loss(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """Mean negative log-likelihood in nats."""
    return float(row_losses(labels, probabilities).mean())


def row_losses(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Negative log-likelihood of each row in nats, float64 ``[n]``."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), EDGE, 1.0 - EDGE)
    y = np.asarray(labels, dtype=np.float64)
    losses: NDArray[np.float64] = -(y * np.log(p) + (1.0 - y) * np.log1p(-p))
    return losses


def calibration_error(labels: NDArray[Any], probabilities: NDArray[np.float64], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: mean |share of positives - mean probability| over bins of equal count."""
    order = np.argsort(probabilities, kind="stable")
    y = np.array_split(np.asarray(labels, dtype=np.float64)[order], bins)
    p = np.array_split(np.asarray(probabilities, dtype=np.float64)[order], bins)
    return sum(len(a) * abs(float(a.mean() - b.mean())) for a, b in zip(y, p, strict=True) if len(a)) / len(labels)
