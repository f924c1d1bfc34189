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
        "precision_recall.png": precision_recall_plot(evaluation.test),
    }


def card_document(story: Story, evaluation: Evaluation) -> dict[str, Any]:
    """Everything the card says, as a JSON object."""
    case, split = story.use_case, story.dataset.split
    return {
        "use_case": case.name,
        "window": {"from_ds": split.train[0], "to_ds": split.test[-1]},
        "intended_use": case.comment,
        "data": _data(story.dataset),
        "model": _model(story),
        "search": {**_search(story), "lightgbm": dict(story.lightgbm)},
        "champion": {"model_id": story.champion, "note": story.champion_note},
        "quality": evaluation.to_json(),
        "intervals": evaluation.method,
        "average_precision": {role: average_precision(evaluation.test, role) for role in _drawn(evaluation.test)},
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
            "positive_share": float(rows.labels.mean(dtype=np.float64)),
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
    statuses = sorted({trial.status for trial in story.trials})
    return {
        "trials": len(story.trials),
        "by_status": {status: sum(trial.status == status for trial in story.trials) for status in statuses},
        "trial_id": story.best.trial_id,
        "config": dict(story.best.config),
        "epochs": story.best.epochs,
        "validation_log_loss": story.best.validation_log_loss,
        "validation_auc": story.best.validation_auc,
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
    said.append("A difference whose interval holds zero is no evidence that one of the two is better.")
    if evaluation.slices:
        said.append("Slices are many and some are small: a few stand out by chance.")
    said.append(
        "Permutation importance tells what this model uses, not what causes the outcome; "
        "features that tell the same share theirs."
    )
    return said + ([f"Champion: {story.champion_note}."] if story.champion_note else [])


def _drawn(test: Answers) -> list[str]:
    """The roles with a curve: one probability for all rows has none."""
    return [role for role in test.probabilities if role != BASE_RATE]


def reliability(test: Answers, role: str) -> list[dict[str, float]]:
    """Mean probability and share of positives of bins of equal count, probabilities rising."""
    happened, said = calibration_curve(
        test.labels, test.probabilities[role], n_bins=CALIBRATION_BINS, strategy="quantile"
    )
    return [{"probability": float(p), "positive_share": float(y)} for p, y in zip(said, happened, strict=True)]


def average_precision(test: Answers, role: str) -> float:
    """Area under the precision-recall curve, as a sum of steps."""
    return float(average_precision_score(test.labels, test.probabilities[role]))


def reliability_plot(test: Answers) -> bytes:
    """PNG: how often it happened against how probable it was said to be; on the diagonal is right."""
    curves = {role: reliability(test, role) for role in _drawn(test)}
    lines = {
        role: (np.array([p["probability"] for p in points]), np.array([p["positive_share"] for p in points]))
        for role, points in curves.items()
    }
    end = max(float(np.max(values)) for line in lines.values() for values in line) * 1.05

    def draw(axes: Axes) -> None:
        axes.plot([0, end], [0, end], color="grey", linestyle=":", label="perfect")
        for role, (said, happened) in lines.items():
            axes.plot(said, happened, marker="o", markersize=4, label=role)
        axes.set(xlabel="predicted probability", ylabel="share of positives", xlim=(0, end), ylim=(0, end))
        axes.set_title(f"Reliability on the test days ({CALIBRATION_BINS} bins of equal count)")

    return _png(draw)


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
    precision, recall, _ = precision_recall_curve(test.labels, test.probabilities[role], drop_intermediate=True)
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
        *_slices(document["slices"]),
        *_importance(document["permutation_importance"]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in document["limits"]),
        "## Lineage",
        _table(("what", "value"), [(name, _text(value)) for name, value in _lineage_rows(document["lineage"])]),
    ]
    return "\n\n".join(parts) + "\n"


def _data_and_model(document: Mapping[str, Any]) -> list[str]:
    columns = ("from_ds", "to_ds", "days", "rows", "positive_share")
    spans = [(name, *(_text(span[column]) for column in columns)) for name, span in document["data"].items()]
    model, search = document["model"], document["search"]
    lightgbm = search["lightgbm"]
    asked = f" of {lightgbm['trials_asked']}" if lightgbm["trials"] != lightgbm["trials_asked"] else ""
    statuses = ", ".join(f"{count} {status}" for status, count in search["by_status"].items())
    return [
        "## Data",
        _table(("span", "from", "to", "days", "rows", "positive share"), spans),
        "## Model",
        f"A network of {model['parameters']} parameters over {model['numeric_features']} numeric and "
        f"{model['categorical_features']} categorical features. Calibrated with temperature "
        f"{_text(model['temperature'])}.",
        _table(("setting", "value"), [(name, _text(value)) for name, value in _settings(document)]),
        f"Chosen from {search['trials']} trials ({statuses}) by log-loss on the validation days: "
        f"{_text(search['validation_log_loss'])}, AUC {_text(search['validation_auc'])}.",
        f"LightGBM was tuned on the same features and days with {lightgbm['trials']}{asked} trials: log-loss on the "
        f"validation days {_text(lightgbm['validation_log_loss'])} with {lightgbm['rounds']} trees and "
        f"{', '.join(f'{name} {_text(value)}' for name, value in sorted(lightgbm['config'].items()))}.",
    ]


def _settings(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted({**document["model"]["architecture"], **document["search"]["config"]}.items())


def _quality(document: Mapping[str, Any]) -> list[str]:
    figures, method = document["quality"]["test"], document["intervals"]
    rows = [
        (
            role,
            str(q["rows"]),
            _with_interval(q["auc"], q["intervals"]["auc"]),
            _with_interval(q["log_loss"], q["intervals"]["log_loss"]),
            _text(q["brier"]),
            _text(q["calibration_error"]),
            _text(document["average_precision"].get(role)),
        )
        for role, q in figures.items()
    ]
    leads = [
        (role, _lead(q["candidate_minus"]["auc"]), _lead(q["candidate_minus"]["log_loss"]))
        for role, q in figures.items()
        if role != CANDIDATE
    ]
    return [
        "## Quality on the test days",
        _table(("model", "rows", "AUC", "log-loss", "Brier", "calibration error", "average precision"), rows),
        "The candidate less each rival (AUC: more is better; log-loss: less is better):",
        _table(("rival", "AUC", "log-loss"), leads),
        f"In brackets: {method['level']:.0%} percentile bootstrap intervals, {method['resamples']} resamples of "
        f"{method['units']} {method['unit']}s.",
        *([f"The champion is `{document['champion']['model_id']}`."] if document["champion"]["model_id"] else []),
        "![Reliability](reliability.png)",
        "![Precision and recall](precision_recall.png)",
    ]


def _slices(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    if not slices:
        return []
    parts = ["## Slices of the test days"]
    columns = ("value", "rows", "positive_share", "auc", "lightgbm_auc", "log_loss", "calibration_error")
    headings = ("rows", "positive share", "AUC", "LightGBM's AUC", "log-loss", "calibration error")
    for feature in dict.fromkeys(one["feature"] for one in slices):
        rows = [[_text(one[column]) for column in columns] for one in slices if one["feature"] == feature]
        parts.append(_table((feature, *headings), rows))
    return parts


def _importance(importance: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = importance[:IMPORTANCE_SHOWN]
    rows = [(one["feature"], _signed(one["log_loss_increase"]), _signed(one["auc_drop"])) for one in shown]
    return [
        "## Permutation importance on the test days",
        f"What is lost when one feature is shuffled; the first {len(shown)} of {len(importance)} features.",
        _table(("feature", "log-loss gained", "AUC dropped"), rows),
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
