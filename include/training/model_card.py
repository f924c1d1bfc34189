"""The model card: what a candidate is, how good it is and where not to trust it, for people and for programs.

    model_card.json       everything the card says
    model_card.md         the same as text and tables
    reliability.png       how often it happened against how probable it was said to be
    precision_recall.png  precision against recall

Markdown and JSON are written from one document, so they cannot disagree; equal inputs give equal bytes. Nothing else
needs Matplotlib. After Mitchell et al., *Model Cards for Model Reporting*, 2019. It does not know where bundles lie.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_recall_curve

from include.bundle.bundle import Predictor, canonical
from include.target import TARGETS, Target, validated
from include.training.dataset import Dataset
from include.training.evaluation import BASE_RATE, CANDIDATE, Answers, Evaluation
from include.training.metrics import CALIBRATION_BINS
from include.training.trial import TrialSummary
from include.use_case import UseCase

IMPORTANCE_SHOWN = 20


@dataclass(frozen=True)
class Story:
    """What a card tells beside the evaluation: how the candidate came about.

    ``lightgbm`` says how that rival was tuned; ``champion`` is the id of the one compared with, or empty, and
    ``champion_note`` why there is none, or what speaks against the comparison.
    """

    use_case: UseCase
    dataset: Dataset
    trials: Sequence[TrialSummary]
    best: TrialSummary
    predictor: Predictor
    lightgbm: Mapping[str, Any]
    champion: str
    champion_note: str
    lineage: Mapping[str, Any]


def model_card(story: Story, evaluation: Evaluation) -> dict[str, bytes]:
    """The files of the card by name."""
    document = card_document(story, evaluation)
    return {
        "model_card.json": canonical(document),
        "model_card.md": markdown(document).encode(),
        "reliability.png": reliability_plot(evaluation.test),
        **_second_plot(evaluation.test),
    }


def _second_plot(test: Answers) -> dict[str, bytes]:
    if test.target.kind == "count":
        return {"errors.png": errors_plot(test)}
    return {"precision_recall.png": precision_recall_plot(test)}


def card_document(story: Story, evaluation: Evaluation) -> dict[str, Any]:
    """Everything the card says, as a JSON object."""
    case, split = story.use_case, story.dataset.split
    return {
        "use_case": case.name,
        "target": case.target.kind,
        "window": {"from_ds": split.train[0], "to_ds": split.test[-1]},
        "intended_use": case.comment,
        "data": _data(story.dataset),
        "model": _model(story),
        "search": {**_search(story), "lightgbm": dict(story.lightgbm)},
        "champion": {"model_id": story.champion, "note": story.champion_note},
        "quality": evaluation.to_json(),
        "intervals": evaluation.method,
        **_average_precisions(evaluation.test),
        "reliability": {role: reliability(evaluation.test, role) for role in _drawn(evaluation.test)},
        "slices": [one.to_json() for one in evaluation.slices],
        "permutation_importance": [one.to_json() for one in evaluation.importance],
        "limits": _limits(story, evaluation),
        "lineage": dict(story.lineage),
    }


def _data(dataset: Dataset) -> dict[str, Any]:
    spans = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    days = dataset.split.to_json()
    return {
        name: {
            "from_ds": days[name]["from_ds"],
            "to_ds": days[name]["to_ds"],
            "days": len(days[name]["days"]),
            "rows": len(rows),
            rows.target.mean: float(rows.labels.mean(dtype=np.float64)),
        }
        for name, rows in spans.items()
    }


def _model(story: Story) -> dict[str, Any]:
    network = story.predictor.network
    return {
        "architecture": network.config.to_json(),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "numeric_features": len(story.predictor.encoders.numeric),
        "categorical_features": len(story.predictor.encoders.category),
        "temperature": story.predictor.temperature,
    }


def _search(story: Story) -> dict[str, Any]:
    target = story.use_case.target
    statuses = sorted({trial.status for trial in story.trials})
    return {
        "trials": len(story.trials),
        "by_status": {status: sum(trial.status == status for trial in story.trials) for status in statuses},
        "trial_id": story.best.trial_id,
        "config": dict(story.best.config),
        "epochs": story.best.epochs,
        validated(target.loss): story.best.validation_loss,
        validated(target.skill): story.best.validation_skill,
    }


def _limits(story: Story, evaluation: Evaluation) -> list[str]:
    """What a reader should know before trusting the figures; only what holds for this card."""
    days = story.dataset.split.test
    said = [
        f"The figures are of the test days alone ({len(days)}, {days[0]} to {days[-1]}): "
        "other seasons and changed circumstances were not tested.",
    ]
    if evaluation.unit == "day":
        said.append(
            f"Intervals come from drawing whole days, {evaluation.units} of them: rows of one day are alike. "
            "With few days such intervals are rather too narrow than too wide."
        )
    else:
        said.append(
            "Intervals come from drawing rows, since there are too few test days to draw days: "
            "how days differ from each other is not in them."
        )
    if left_out := story.lineage.get("request", {}).get("without"):
        said.append(f"Days were left out of the run, so how it does on days like these was not tested: {left_out}.")
    if seen := story.lineage.get("validation_days_seen"):
        said.append(
            f"The weights that it began with had learned from {seen} of the {len(story.dataset.split.validation)} "
            "validation days: figures of those days, and what was chosen by them, favour it."
        )
    said.append("A difference whose interval holds zero is no evidence that one of the two is better.")
    if evaluation.slices:
        said.append("Slices are many and some are small: a few stand out by chance.")
    said.append(
        "Permutation importance tells what this model uses, not what causes the outcome; "
        "features that tell the same share theirs."
    )
    return said + ([f"Champion: {story.champion_note}."] if story.champion_note else [])


def _drawn(test: Answers) -> list[str]:
    """The roles with a curve: one answer for all rows has none."""
    return [role for role in test.by_role if role != BASE_RATE]


def reliability(test: Answers, role: str) -> list[dict[str, float]]:
    """Mean answer and mean label of bins of equal count, answers rising."""
    target, given = test.target, test.by_role[role]
    if target.kind == "binary":
        happened, said = calibration_curve(test.labels, given, n_bins=CALIBRATION_BINS, strategy="quantile")
    else:
        bins = np.array_split(np.argsort(given, kind="stable"), min(CALIBRATION_BINS, len(given)))
        happened, said = (np.array([values[one].mean() for one in bins]) for values in (test.labels, given))
    return [{target.answer: float(p), target.mean: float(y)} for p, y in zip(said, happened, strict=True)]


def _average_precisions(test: Answers) -> dict[str, Any]:
    if test.target.kind != "binary":
        return {}
    return {"average_precision": {role: average_precision(test, role) for role in _drawn(test)}}


def average_precision(test: Answers, role: str) -> float:
    """Area under the precision-recall curve, as a sum of steps."""
    return float(average_precision_score(test.labels, test.by_role[role]))


def reliability_plot(test: Answers) -> bytes:
    """PNG: what happened on average against what was said; on the diagonal is right."""
    target = test.target
    curves = {role: reliability(test, role) for role in _drawn(test)}
    lines = {
        role: (np.array([p[target.answer] for p in points]), np.array([p[target.mean] for p in points]))
        for role, points in curves.items()
    }
    end = max(float(np.max(values)) for line in lines.values() for values in line) * 1.05

    def draw(axes: Axes) -> None:
        axes.plot([0, end], [0, end], color="grey", linestyle=":", label="perfect")
        for role, (said, happened) in lines.items():
            axes.plot(said, happened, marker="o", markersize=4, label=role)
        axes.set(xlabel=f"predicted {target.answer}", ylabel=_spaced(target.mean), xlim=(0, end), ylim=(0, end))
        axes.set_title(f"Reliability on the test days ({CALIBRATION_BINS} bins of equal count)")

    return _png(draw)


def errors_plot(test: Answers) -> bytes:
    """PNG: the mean absolute error of each of the bins of ``reliability``, over their mean answer."""
    spans = {role: np.array_split(np.argsort(given, kind="stable"), CALIBRATION_BINS) for role, given in _curves(test)}

    def draw(axes: Axes) -> None:
        for role, given in _curves(test):
            off = np.abs(test.labels - given)
            means = [(given[one].mean(), off[one].mean()) for one in spans[role] if len(one)]
            axes.plot(
                *zip(*means, strict=True), marker="o", markersize=4, label=f"{role} ({off.mean():.2f} on average)"
            )
        axes.set(xlabel=f"predicted {test.target.answer}", ylabel="mean absolute error")
        axes.set_ylim(bottom=0)
        axes.set_title(f"Errors on the test days ({CALIBRATION_BINS} bins of equal count)")

    return _png(draw)


def _curves(test: Answers) -> list[tuple[str, NDArray[np.float64]]]:
    return [(role, test.by_role[role]) for role in _drawn(test)]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def precision_recall_plot(test: Answers) -> bytes:
    """PNG: precision against recall; the dotted line is the share of positives, which guessing reaches."""

    def draw(axes: Axes) -> None:
        axes.axhline(float(test.labels.mean(dtype=np.float64)), color="grey", linestyle=":", label="share of positives")
        for role in _drawn(test):
            precision, recall = _precision_recall(test, role)
            axes.plot(recall, precision, label=f"{role} (average precision {average_precision(test, role):.4f})")
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.set_title("Precision and recall on the test days")

    return _png(draw)


def _precision_recall(test: Answers, role: str) -> tuple[NDArray[Any], NDArray[Any]]:
    precision, recall, _ = precision_recall_curve(test.labels, test.by_role[role], drop_intermediate=True)
    return precision, recall


def _png(draw: Any) -> bytes:
    """Draw on a figure of its own, by Matplotlib's own defaults: neither a display nor anybody's settings count."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(6.4, 5.2), dpi=100, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.grid(alpha=0.3)
        axes.legend()
        data = BytesIO()
        # The program's name in the file would change with its version, and with it the bundle's id.
        figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def markdown(document: Mapping[str, Any]) -> str:
    """The card's document as Markdown."""
    window = document["window"]
    parts = [
        f"# Model card: {document['use_case']}, {window['from_ds']} to {window['to_ds']}",
        f"**Intended use.** {document['intended_use']}",
        *_data_and_model(document),
        *_quality(document),
        *_slices(TARGETS[document["target"]], document["slices"]),
        *_importance(TARGETS[document["target"]], document["permutation_importance"]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in document["limits"]),
        "## Lineage",
        _table(("what", "value"), [(name, _text(value)) for name, value in _lineage_rows(document["lineage"])]),
    ]
    return "\n\n".join(parts) + "\n"


def _data_and_model(document: Mapping[str, Any]) -> list[str]:
    target = TARGETS[document["target"]]
    columns = ("from_ds", "to_ds", "days", "rows", target.mean)
    spans = [(name, *(_text(span[column]) for column in columns)) for name, span in document["data"].items()]
    model, search = document["model"], document["search"]
    lightgbm = search["lightgbm"]
    asked = f" of {lightgbm['trials_asked']}" if lightgbm["trials"] != lightgbm["trials_asked"] else ""
    statuses = ", ".join(f"{count} {status}" for status, count in search["by_status"].items())
    return [
        "## Data",
        _table(("span", "from", "to", "days", "rows", _spaced(target.mean)), spans),
        "## Model",
        f"A network of {model['parameters']} parameters over {model['numeric_features']} numeric and "
        f"{model['categorical_features']} categorical features{_calibrated(target, model)}.",
        _table(("setting", "value"), [(name, _text(value)) for name, value in _settings(document)]),
        f"Chosen from {search['trials']} trials ({statuses}) by {target.loss.words} on the validation days: "
        f"{_text(search[validated(target.loss)])}, {target.skill.words} {_text(search[validated(target.skill)])}.",
        f"LightGBM was tuned on the same features and days with {lightgbm['trials']}{asked} trials: "
        f"{target.loss.words} on the validation days {_text(lightgbm[validated(target.loss)])} with "
        f"{lightgbm['rounds']} trees{' (all it had time for)' if lightgbm['cut_short'] else ''} and "
        f"{', '.join(f'{name} {_text(value)}' for name, value in sorted(lightgbm['config'].items()))}.",
    ]


def _calibrated(target: Target, model: Mapping[str, Any]) -> str:
    return f". Calibrated with temperature {_text(model['temperature'])}" if target.kind == "binary" else ""


def _settings(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted({**document["model"]["architecture"], **document["search"]["config"]}.items())


def _quality(document: Mapping[str, Any]) -> list[str]:
    figures, method = document["quality"]["test"], document["intervals"]
    target = TARGETS[document["target"]]
    skill, loss = target.skill, target.loss
    precisions = document.get("average_precision")
    rows = [
        (
            role,
            str(q["rows"]),
            *(_with_interval(q[metric.name], q["intervals"][metric.name]) for metric in (skill, loss)),
            *(_text(q[metric.name]) for metric in (target.error, target.calibration_error)),
            *([] if precisions is None else [_text(precisions.get(role))]),
        )
        for role, q in figures.items()
    ]
    leads = [
        (role, *(_lead(q["candidate_minus"][metric.name]) for metric in (skill, loss)))
        for role, q in figures.items()
        if role != CANDIDATE
    ]
    return [
        "## Quality on the test days",
        _table(
            ("model", "rows", *(metric.words for metric in target.metrics), *_named(precisions, "average precision")),
            rows,
        ),
        f"The candidate less each rival ({skill.words}: more is better; {loss.words}: less is better):",
        _table(("rival", skill.words, loss.words), leads),
        f"In brackets: {method['level']:.0%} percentile bootstrap intervals, {method['resamples']} resamples of "
        f"{method['units']} {method['unit']}s.",
        *([f"The champion is `{document['champion']['model_id']}`."] if document["champion"]["model_id"] else []),
        "![Reliability](reliability.png)",
        "![Errors](errors.png)" if precisions is None else "![Precision and recall](precision_recall.png)",
    ]


def _named(figures: Any, name: str) -> list[str]:
    return [] if figures is None else [name]


def _slices(target: Target, slices: Sequence[Mapping[str, Any]]) -> list[str]:
    if not slices:
        return []
    parts = ["## Slices of the test days"]
    skill, loss, off = target.skill, target.loss, target.calibration_error
    columns = ("value", "rows", target.mean, skill.name, f"lightgbm_{skill.name}", loss.name, off.name)
    headings = ("rows", _spaced(target.mean), skill.words, f"LightGBM's {skill.words}", loss.words, off.words)
    for feature in dict.fromkeys(one["feature"] for one in slices):
        rows = [[_text(one[column]) for column in columns] for one in slices if one["feature"] == feature]
        parts.append(_table((feature, *headings), rows))
    return parts


def _importance(target: Target, importance: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = importance[:IMPORTANCE_SHOWN]
    gained, dropped = f"{target.loss.name}_increase", f"{target.skill.name}_drop"
    rows = [(one["feature"], _signed(one[gained]), _signed(one[dropped])) for one in shown]
    return [
        "## Permutation importance on the test days",
        f"What is lost when one feature is shuffled; the first {len(shown)} of {len(importance)} features.",
        _table(("feature", f"{target.loss.words} gained", f"{target.skill.words} dropped"), rows),
    ]


def _lineage_rows(lineage: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """One row a value; what is nested gets a dotted name. The days and the configuration stand above."""
    rows: list[tuple[str, Any]] = []
    for name, value in sorted(lineage.items()):
        if name in ("split", "config"):
            continue
        if isinstance(value, Mapping):
            rows += [(f"{name}.{inner}", found) for inner, found in sorted(value.items())]
        else:
            rows.append((name, value))
    return rows


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _with_interval(value: float, ends: Sequence[float]) -> str:
    return f"{value:.4f} [{ends[0]:.4f}, {ends[1]:.4f}]"


def _lead(difference: Mapping[str, float]) -> str:
    return f"{difference['value']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 0.01 else _fixed(value)


def _fixed(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
