"""How sure a figure is: bootstrap confidence intervals of skill and loss, and of differences between two models.

Percentile intervals (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13) over resamples that
are told as counts: how often each unit was drawn. The unit is the day where there are enough of them, since the rows
of one day share what made it a good or a bad one, and rows that belong together must be drawn together (Field and
Welsh, *Bootstrapping clustered data*, JRSS B 69, 2007); otherwise the row. Two models are compared on the same
resamples, so that what is hard for both cancels out. It does not know whose answers they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from include.target import Target
from include.training.metrics import row_losses

Doubles = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 1000
#: With fewer days than this whole days would say too little about other days: rows are drawn.
MINIMUM_DAYS = 5
#: Weights held at once: what fits into a core's cache is quickest, however large the test.
CHUNK = 200_000


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of a figure's resamples."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """Both ends."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Difference:
    """One model's figure less another's on all rows, and the interval of that difference over the same resamples."""

    value: float
    interval: Interval

    def to_json(self) -> dict[str, float]:
        """Value and ends."""
        return {"value": self.value, "low": self.interval.low, "high": self.interval.high}


@dataclass(frozen=True)
class Resamples:
    """``counts`` ``[resamples, units]``: how often each unit was drawn; ``unit_of`` ``[n]``: the unit of each row."""

    unit: Literal["day", "row"]
    unit_of: NDArray[np.intp]
    counts: NDArray[np.uint16]

    @classmethod
    def draw(cls, days: Sequence[Any] | NDArray[Any], seed: int, resamples: int = RESAMPLES) -> "Resamples":
        """Draw with replacement as many units as there are, for rows given by their day; equal seeds, equal draws."""
        _, unit_of = np.unique(np.asarray(days), return_inverse=True)
        by_day = int(unit_of.max()) + 1 >= MINIMUM_DAYS
        if not by_day:
            unit_of = np.arange(len(unit_of))
        units = int(unit_of.max()) + 1
        random = np.random.default_rng(seed)
        counts = np.empty((resamples, units), dtype=np.uint16)
        for drawn in counts:
            drawn[:] = np.bincount(random.integers(0, units, units), minlength=units)
        return cls("day" if by_day else "row", unit_of, counts)

    @property
    def units(self) -> int:
        """How many units there are to draw from."""
        return int(self.counts.shape[1])

    def skill(self, target: Target, labels: NDArray[Any], answers: Doubles) -> Doubles:
        """AUC or D² in each resample, float64 ``[resamples]``; NaN where all labels that were drawn are alike."""
        return self._auc(labels, answers) if target.kind == "binary" else self._explained(target, labels, answers)

    def _auc(self, labels: NDArray[Any], probabilities: Doubles) -> Doubles:
        ranks = Ranks.of(labels, probabilities)
        unit_of = self.unit_of[ranks.order]
        return np.concatenate([ranks.auc(counts[:, unit_of]) for counts in self._parts(len(labels))])

    def _parts(self, width: int) -> list[NDArray[np.uint16]]:
        """The counts some resamples at a time, as many as take ``CHUNK`` numbers of so many each."""
        step = max(1, CHUNK // width)
        return [self.counts[i : i + step] for i in range(0, len(self.counts), step)]

    def loss(self, target: Target, labels: NDArray[Any], answers: Doubles) -> Doubles:
        """The loss in each resample, float64 ``[resamples]``."""
        losses, rows = self._sums(row_losses(target, labels, answers), np.ones(len(answers)))
        result: Doubles = losses / rows
        return result

    def _explained(self, target: Target, labels: NDArray[Any], answers: Doubles) -> Doubles:
        """D² against the mean of the labels that were drawn."""
        y = np.asarray(labels, dtype=np.float64)
        deviance, total, logs, rows = self._sums(row_losses(target, y, answers), y, xlogy(y, y), np.ones(len(y)))
        # The mean's own deviance: its terms y - mean add up to nothing.
        of_mean = 2.0 * (logs - xlogy(total, total / rows))
        result: Doubles = 1.0 - np.divide(deviance, of_mean, out=np.full(len(of_mean), np.nan), where=of_mean > 0)
        return result

    def _sums(self, *values: Doubles) -> list[Doubles]:
        """The sum of each value over the rows that were drawn, by resample."""
        by_unit = np.column_stack([np.bincount(self.unit_of, weights=one) for one in values])
        sums = np.concatenate([counts.astype(np.float64) @ by_unit for counts in self._parts(self.units)])
        return list(sums.T)


@dataclass(frozen=True)
class Ranks:
    """Rows by rising score: ``order`` ``[n]``, their labels in that order, and where each distinct score begins."""

    order: NDArray[np.intp]
    labels: Doubles
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, labels: NDArray[Any], scores: Doubles) -> "Ranks":
        """Sort once; many weights can then be asked about."""
        order = np.argsort(scores, kind="stable")
        ranked = np.asarray(scores)[order]
        starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        return cls(order, np.asarray(labels, dtype=np.float64)[order], starts)

    def auc(self, weights: NDArray[Any]) -> Doubles:
        """AUC under each row of ``weights`` ``[k, n]``, in this order, float64 ``[k]``; NaN with one class.

        The negatives below each positive are a cumulative sum; those of equal score count half.
        """
        positive = weights * self.labels
        negative = weights - positive
        if len(self.starts) < len(self.labels):
            positive, negative = (np.add.reduceat(part, self.starts, axis=1) for part in (positive, negative))
        below = np.cumsum(negative, axis=1)
        below -= 0.5 * negative
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        won = np.einsum("ij,ij->i", positive, below)
        result: Doubles = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return result


def interval(values: Doubles, level: float = LEVEL) -> Interval:
    """The percentile interval of a figure's resamples; those without a figure (NaN) are left out."""
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))
