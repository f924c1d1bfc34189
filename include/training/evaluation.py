"""What is measured of a candidate beside its rivals: figures with intervals, slices, and what the features are worth.

Roles are names with a function from rows to probabilities: "candidate" and whom it is compared with. Figures are of
validation and test days, all else of the test days, which nothing was chosen on. It does not know networks, bundles,
nor what becomes of the figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.training.dataset import Dataset, Rows
from include.training.intervals import LEVEL, Difference, Interval, Resamples, interval
from include.training.metrics import CALIBRATION_BINS, Quality, area_under_curve, calibration_error, log_loss, quality

Doubles = NDArray[np.float64]
#: Rows -> probabilities, float64 ``[n]``.
Probabilities = Callable[[Rows], Doubles]

CANDIDATE = "candidate"
CHAMPION = "champion"
LIGHTGBM = "lightgbm"
BASE_RATE = "base_rate"
#: Slices smaller than this say little alone; they are measured together.
MINIMUM_SLICE_ROWS = 100
MISSING_VALUE = "(missing)"
OTHER_VALUES = "(other)"
#: Rows that are predicted again for each feature, all repeats together: more rows say more than more repeats of few.
IMPORTANCE_ROWS = 10_000
MAXIMUM_REPEATS = 3


@dataclass(frozen=True)
class Answers:
    """The labels of the test days, and what each role gave for them, float64 ``[n]``."""

    labels: NDArray[np.float32]
    probabilities: Mapping[str, Doubles]


@dataclass(frozen=True)
class SliceQuality:
    """The candidate on the test rows where ``feature`` has ``value``, and LightGBM's AUC there.

    AUC is ``None`` where all labels are alike.
    """

    feature: str
    value: str
    rows: int
    positive_share: float
    auc: float | None
    log_loss: float
    calibration_error: float
    lightgbm_auc: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Importance:
    """What is lost when one feature's values are shuffled among the rows: log-loss gained (nats), AUC dropped."""

    feature: str
    log_loss_increase: float
    auc_drop: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Everything measured.

    ``figures`` by split ("validation", "test") and role. Of the test days: ``intervals`` by role and metric ("auc",
    "log_loss"), ``differences`` (candidate minus rival) by rival and metric, slices, importance and the answers.
    """

    figures: Mapping[str, Mapping[str, Quality]]
    intervals: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Difference]]
    unit: str
    units: int
    resamples: int
    slices: tuple[SliceQuality, ...]
    importance: tuple[Importance, ...]
    test: Answers

    def to_json(self) -> dict[str, Any]:
        """The figures by split and role; those of the test days with intervals and the candidate's lead."""
        document = {split: {role: q.to_json() for role, q in roles.items()} for split, roles in self.figures.items()}
        return document | {"test": {role: self._of_test(role) for role in self.figures["test"]}}

    def _of_test(self, role: str) -> dict[str, Any]:
        figures: dict[str, Any] = self.figures["test"][role].to_json()
        figures["intervals"] = {metric: found.to_json() for metric, found in self.intervals[role].items()}
        if role in self.differences:
            figures["candidate_minus"] = {metric: d.to_json() for metric, d in self.differences[role].items()}
        return figures

    @property
    def method(self) -> dict[str, Any]:
        """How the intervals came about, as a JSON object."""
        return {"level": LEVEL, "resamples": self.resamples, "unit": self.unit, "units": self.units}

    def lines(self) -> list[str]:
        """The test days as a table for the log."""
        width = max(len(role) for role in self.figures["test"])
        return [self._line(role, q, width) for role, q in self.figures["test"].items()]

    def _line(self, role: str, q: Quality, width: int) -> str:
        auc, loss = (self.intervals[role][metric] for metric in ("auc", "log_loss"))
        line = (
            f"  test {role:{width}} AUC {q.auc:.4f} [{auc.low:.4f}, {auc.high:.4f}]  "
            f"log-loss {q.log_loss:.4f} [{loss.low:.4f}, {loss.high:.4f}]  calibration error {q.calibration_error:.4f}"
        )
        lead = self.differences.get(role)
        if lead is None:
            return line
        low, high = lead["auc"].interval.to_json()
        return f"{line}  candidate's AUC {lead['auc'].value:+.4f} [{low:+.4f}, {high:+.4f}]"


def evaluate(
    validation: Mapping[str, Probabilities],
    test: Mapping[str, Probabilities],
    dataset: Dataset,
    slices: Sequence[str],
    seed: int,
) -> Evaluation:
    """Measure the candidate and its rivals on both splits, on each by models that have not seen it.

    ``validation`` and ``test`` have the same roles, "candidate" among them; ``slices`` are names of features.
    Equal inputs give equal figures. Raises ``ValueError`` if a span has labels of one class only.
    """
    spans = {"validation": (dataset.validation, validation), "test": (dataset.test, test)}
    answers = {
        split: Answers(rows.labels, {role: answers_of(probabilities, rows) for role, probabilities in roles.items()})
        for split, (rows, roles) in spans.items()
    }
    figures = {
        split: {role: quality(found.labels, p) for role, p in found.probabilities.items()}
        for split, found in answers.items()
    }
    tested = answers["test"]
    resamples = Resamples.draw(dataset.test.days, seed)
    intervals, differences = _intervals(resamples, tested, figures["test"])
    return Evaluation(
        figures=figures,
        intervals=intervals,
        differences=differences,
        unit=resamples.unit,
        units=resamples.units,
        resamples=len(resamples.counts),
        slices=tuple(part for feature in slices for part in slice_quality(dataset.test, tested, feature)),
        importance=permutation_importance(test[CANDIDATE], dataset.test, seed),
        test=tested,
    )


def answers_of(probabilities: Probabilities, rows: Rows) -> Doubles:
    """The probabilities of any number of rows, asked for some at a time."""
    return np.concatenate([probabilities(chunk) for chunk in rows.chunks()])


def _intervals(
    resamples: Resamples, test: Answers, figures: Mapping[str, Quality]
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Difference]]]:
    """Intervals of every role's figures, and of the candidate's lead over each rival on the same resamples."""
    drawn = {
        role: {"auc": resamples.auc(test.labels, p), "log_loss": resamples.log_loss(test.labels, p)}
        for role, p in test.probabilities.items()
    }
    intervals = {role: {metric: interval(values) for metric, values in of.items()} for role, of in drawn.items()}

    def lead(rival: str, metric: str) -> Difference:
        value = getattr(figures[CANDIDATE], metric) - getattr(figures[rival], metric)
        return Difference(value, interval(drawn[CANDIDATE][metric] - drawn[rival][metric]))

    rivals = [role for role in drawn if role != CANDIDATE]
    return intervals, {rival: {metric: lead(rival, metric) for metric in drawn[rival]} for rival in rivals}


def slice_quality(
    rows: Rows, answers: Answers, feature: str, minimum: int = MINIMUM_SLICE_ROWS
) -> tuple[SliceQuality, ...]:
    """The figures for each value of a feature, numbers rising, texts in order; then the missing and the small ones.

    Values with fewer than ``minimum`` rows are measured together as ``(other)``. Raises ``KeyError`` if there is no
    such feature.
    """
    texts, values = _values(rows.columns[feature])
    codes = {value: i for i, value in enumerate(values)}
    code = np.array([codes[text] for text in texts])
    counts = np.bincount(code, minlength=len(values))
    named = [(values[i], code == i) for i in np.flatnonzero(counts >= minimum)]
    small = counts[code] < minimum
    if small.any():
        named.append((OTHER_VALUES, small))
    return tuple(_slice(feature, value, answers, chosen) for value, chosen in named)


def _values(column: NDArray[Any]) -> tuple[list[str], list[str]]:
    """Each row's value as text, and all values in order."""
    if column.dtype == object:
        texts = [MISSING_VALUE if value is None else str(value) for value in column]
        known = sorted(set(texts) - {MISSING_VALUE})
    else:
        numbers = column.astype(np.float64)
        texts = [f"{number:g}" if np.isfinite(number) else MISSING_VALUE for number in numbers]
        known = sorted(set(texts) - {MISSING_VALUE}, key=float)
    return texts, [*known, *([MISSING_VALUE] if MISSING_VALUE in texts else [])]


def _slice(feature: str, value: str, answers: Answers, chosen: NDArray[np.bool_]) -> SliceQuality:
    labels = answers.labels[chosen]
    p = answers.probabilities[CANDIDATE][chosen]
    rival = answers.probabilities.get(LIGHTGBM)
    # The error of a bin of few rows is mostly chance, and would make every small slice look badly calibrated.
    bins = max(1, min(CALIBRATION_BINS, len(labels) // MINIMUM_SLICE_ROWS))
    return SliceQuality(
        feature=feature,
        value=value,
        rows=len(labels),
        positive_share=float(labels.mean(dtype=np.float64)),
        auc=_auc(labels, p),
        log_loss=log_loss(labels, p),
        calibration_error=calibration_error(labels, p, bins),
        lightgbm_auc=None if rival is None else _auc(labels, rival[chosen]),
    )


def _auc(labels: NDArray[Any], probabilities: Doubles) -> float | None:
    return area_under_curve(labels, probabilities) if len(np.unique(labels)) > 1 else None


def permutation_importance(
    candidate: Probabilities, rows: Rows, seed: int, sample: int = IMPORTANCE_ROWS
) -> tuple[Importance, ...]:
    """How much worse the candidate gets when one feature is shuffled, the most important feature first.

    Permutation importance (Breiman, *Random Forests*, 2001) on at most ``sample`` of the rows; fewer rows are shuffled
    up to three times. Features that tell the same share their importance: each alone can look worthless.
    """
    random = np.random.default_rng(seed)
    chosen = rows.at(np.sort(random.permutation(len(rows))[:sample]))
    repeats = max(1, min(MAXIMUM_REPEATS, sample // len(chosen)))
    before = candidate(chosen)
    known = log_loss(chosen.labels, before), _auc(chosen.labels, before)
    found = [
        _importance(candidate, chosen, known, name, [random.permutation(len(chosen)) for _ in range(repeats)])
        for name in chosen.stored
    ]
    return tuple(sorted(found, key=lambda one: (-one.log_loss_increase, one.feature)))


def _importance(
    candidate: Probabilities,
    rows: Rows,
    before: tuple[float, float | None],
    name: str,
    orders: Sequence[NDArray[np.intp]],
) -> Importance:
    column = rows.columns[name]
    after = [candidate(replace(rows, stored={**rows.stored, name: column[order]})) for order in orders]
    loss, auc = before
    increase = np.mean([log_loss(rows.labels, p) for p in after]) - loss
    drop = None if auc is None else auc - float(np.mean([area_under_curve(rows.labels, p) for p in after]))
    return Importance(name, float(increase), drop)
