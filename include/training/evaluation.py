"""What is measured of a candidate beside its rivals: figures with intervals, slices, and what the features are worth.

Roles are names with a function from rows to answers: "candidate" and whom it is compared with. Figures are of
validation and test days, all else of the test days, which nothing was chosen on. It does not know networks, bundles,
nor what becomes of the figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.target import Target
from include.training.dataset import Dataset, Rows
from include.training.intervals import LEVEL, Difference, Interval, Resamples, interval
from include.training.metrics import Quality, calibration_error, loss, quality, skill, skill_if_any

Doubles = NDArray[np.float64]
#: Rows -> answers, float64 ``[n]``.
Answering = Callable[[Rows], Doubles]

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

    target: Target
    labels: NDArray[np.float32]
    by_role: Mapping[str, Doubles]


@dataclass(frozen=True)
class SliceQuality:
    """The candidate on the test rows where ``feature`` has ``value``, and LightGBM's skill there.

    A skill is ``None`` where all labels are alike.
    """

    target: Target

    feature: str
    value: str
    rows: int
    mean_label: float
    skill: float | None
    loss: float
    calibration_error: float
    lightgbm_skill: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, by their names for this target."""
        target = self.target
        return {
            "feature": self.feature,
            "value": self.value,
            "rows": self.rows,
            target.mean: self.mean_label,
            target.skill.name: self.skill,
            target.loss.name: self.loss,
            target.calibration_error.name: self.calibration_error,
            f"lightgbm_{target.skill.name}": self.lightgbm_skill,
        }


@dataclass(frozen=True)
class Importance:
    """What is lost when one feature's values are shuffled among the rows: loss gained, skill dropped."""

    target: Target
    feature: str
    loss_increase: float
    skill_drop: float | None

    def to_json(self) -> dict[str, Any]:
        """The figures as a JSON object, by their names for this target."""
        return {
            "feature": self.feature,
            f"{self.target.loss.name}_increase": self.loss_increase,
            f"{self.target.skill.name}_drop": self.skill_drop,
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything measured.

    ``figures`` by split ("validation", "test") and role. Of the test days: ``intervals`` by role and the
    name of a metric (the target's skill and loss), ``differences`` (candidate minus rival) by rival and metric, slices,
    importance and the answers.
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
        target = q.target
        skill, loss = (self.intervals[role][metric.name] for metric in (target.skill, target.loss))
        line = (
            f"  test {role:{width}} {target.skill.words} {q.skill:.4f} [{skill.low:.4f}, {skill.high:.4f}]  "
            f"{target.loss.words} {q.loss:.4f} [{loss.low:.4f}, {loss.high:.4f}]  "
            f"calibration error {q.calibration_error:.4f}"
        )
        lead = self.differences.get(role)
        if lead is None:
            return line
        ahead = lead[target.skill.name]
        low, high = ahead.interval.to_json()
        return f"{line}  candidate's {target.skill.words} {ahead.value:+.4f} [{low:+.4f}, {high:+.4f}]"


def evaluate(
    validation: Mapping[str, Answering],
    test: Mapping[str, Answering],
    dataset: Dataset,
    slices: Sequence[str],
    seed: int,
) -> Evaluation:
    """Measure the candidate and its rivals on both splits, on each by models that have not seen it.

    ``validation`` and ``test`` have the same roles, "candidate" among them; ``slices`` are names of features.
    Equal inputs give equal figures. Raises ``ValueError`` if a span's labels are all alike.
    """
    spans = {"validation": (dataset.validation, validation), "test": (dataset.test, test)}
    answers = {
        split: Answers(rows.target, rows.labels, {role: answers_of(ask, rows) for role, ask in roles.items()})
        for split, (rows, roles) in spans.items()
    }
    figures = {
        split: {role: quality(found.target, found.labels, given) for role, given in found.by_role.items()}
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


def answers_of(ask: Answering, rows: Rows) -> Doubles:
    """The answers for any number of rows, asked for some at a time."""
    answers, at = np.empty(len(rows)), 0
    for chunk in rows.chunks():
        answers[at : at + len(chunk)] = ask(chunk)
        at += len(chunk)
    return answers


def _intervals(
    resamples: Resamples, test: Answers, figures: Mapping[str, Quality]
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Difference]]]:
    """Intervals of every role's figures, and of the candidate's lead over each rival on the same resamples."""
    target = test.target
    metrics = {target.skill.name: ("skill", resamples.skill), target.loss.name: ("loss", resamples.loss)}
    drawn = {
        role: {name: draw(target, test.labels, given) for name, (_, draw) in metrics.items()}
        for role, given in test.by_role.items()
    }
    intervals = {role: {metric: interval(values) for metric, values in of.items()} for role, of in drawn.items()}

    def lead(rival: str, metric: str) -> Difference:
        figure = metrics[metric][0]
        value = getattr(figures[CANDIDATE], figure) - getattr(figures[rival], figure)
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
    given = answers.by_role[CANDIDATE][chosen]
    rival = answers.by_role.get(LIGHTGBM)
    target = answers.target
    return SliceQuality(
        target=target,
        feature=feature,
        value=value,
        rows=len(labels),
        mean_label=float(labels.mean(dtype=np.float64)),
        skill=skill_if_any(target, labels, given),
        loss=loss(target, labels, given),
        calibration_error=calibration_error(target, labels, given),
        lightgbm_skill=None if rival is None else skill_if_any(target, labels, rival[chosen]),
    )


def permutation_importance(
    candidate: Answering, rows: Rows, seed: int, sample: int = IMPORTANCE_ROWS
) -> tuple[Importance, ...]:
    """How much worse the candidate gets when one feature is shuffled, the most important feature first.

    Permutation importance (Breiman, *Random Forests*, 2001) on at most ``sample`` of the rows; fewer rows are shuffled
    up to three times. Features that tell the same share their importance: each alone can look worthless.
    """
    random = np.random.default_rng(seed)
    chosen = rows.at(np.sort(random.permutation(len(rows))[:sample]))
    repeats = max(1, min(MAXIMUM_REPEATS, sample // len(chosen)))
    before = candidate(chosen)
    known = loss(rows.target, chosen.labels, before), skill_if_any(rows.target, chosen.labels, before)
    found = [
        _importance(candidate, chosen, known, name, [random.permutation(len(chosen)) for _ in range(repeats)])
        for name in chosen.stored
    ]
    return tuple(sorted(found, key=lambda one: (-one.loss_increase, one.feature)))


def _importance(
    candidate: Answering,
    rows: Rows,
    before: tuple[float, float | None],
    name: str,
    orders: Sequence[NDArray[np.intp]],
) -> Importance:
    column = rows.columns[name]
    after = [candidate(replace(rows, stored={**rows.stored, name: column[order]})) for order in orders]
    target, (loss_before, skill_before) = rows.target, before
    increase = np.mean([loss(target, rows.labels, given) for given in after]) - loss_before
    lost = None
    if skill_before is not None:
        lost = skill_before - float(np.mean([skill(target, rows.labels, given) for given in after]))
    return Importance(target, name, float(increase), lost)
