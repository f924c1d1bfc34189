"""What kind of outcome a use case predicts: how the network's score becomes an answer, and what figures are called.

Two kinds, both with one score a row. ``BINARY``: whether something happens; labels 0 or 1, the answer is a probability
(logistic link). ``COUNT``: how many there are, a regression; labels whole numbers from 0 on, the answer is the expected
number (log link, Poisson deviance). It declares names and the link: how figures are computed is ``training.metrics``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["binary", "count"]


@dataclass(frozen=True)
class Metric:
    """A figure's name as a column and JSON field, in words, and what it is."""

    name: str
    words: str
    comment: str


@dataclass(frozen=True)
class Target:
    """What is predicted.

    ``answer`` names the field and column with the answer, ``highest`` is the greatest one (``None``: there is none);
    ``mean`` names the labels' mean. ``skill`` is better when higher, above ``no_skill`` better than knowing nothing;
    ``loss`` is what training lowers, ``error`` is for people: of both less is better.
    """

    kind: Kind
    answer: str
    answer_comment: str
    highest: int | None
    mean: str
    skill: Metric
    no_skill: float
    loss: Metric
    error: Metric
    calibration_error: Metric

    def respond(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of the network -> answers, float64 ``[n]``: the inverse of the link."""
        result: NDArray[np.float64] = np.exp(scores) if self.kind == "count" else 1.0 / (1.0 + np.exp(-scores))
        return result

    @property
    def labels(self) -> str:
        """Which labels there are, in words."""
        return "0 or 1" if self.kind == "binary" else "a whole number from 0 on"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All figures of a set of answers, in the order in which they are shown."""
        return self.skill, self.loss, self.error, self.calibration_error

    def said(self, answer: float) -> str:
        """An answer for people."""
        return f"{answer:.1f}" if self.kind == "count" else f"{answer:.4f}"


BINARY = Target(
    kind="binary",
    answer="probability",
    answer_comment="Of the predicted event",
    highest=1,
    mean="positive_share",
    skill=Metric("auc", "AUC", "Area under the ROC curve; null with one class of labels only"),
    no_skill=0.5,
    loss=Metric("log_loss", "log-loss", "Mean negative log-likelihood, nats"),
    error=Metric("brier", "Brier score", "Mean squared error of the probability"),
    calibration_error=Metric(
        "calibration_error", "calibration error", "Expected calibration error, bins of equal count"
    ),
)

COUNT = Target(
    kind="count",
    answer="value",
    answer_comment="The expected number",
    highest=None,
    mean="mean_label",
    skill=Metric("d2", "D²", "Share of the mean's Poisson deviance that is explained; null where labels are alike"),
    no_skill=0.0,
    loss=Metric("poisson_deviance", "Poisson deviance", "Mean Poisson deviance"),
    error=Metric("mean_absolute_error", "mean absolute error", "Mean |label - answer|"),
    calibration_error=Metric(
        "calibration_error", "calibration error", "Mean |label - answer| over bins of equal count, by the mean label"
    ),
)


def validated(metric: Metric) -> str:
    """The name of a trial's figure on the validation days."""
    return f"validation_{metric.name}"


TARGETS: dict[Kind, Target] = {target.kind: target for target in (BINARY, COUNT)}
