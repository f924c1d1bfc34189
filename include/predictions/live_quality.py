"""How good the champion's answers turned out to be, by model and day and by model and hour, as metrics messages.

A message's identity follows from what was measured and found: the same again is the same metric, and figures that
changed (labels or predictions came late) are a new one with a later time. It knows neither Spark nor Kafka.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.broadcast import Message
from include.target import Target
from include.training.metrics import calibration_error, error, loss, skill_if_any


def figures_schema(target: Target) -> pa.Schema:
    """The columns of ``day_figures``."""
    head = [
        ("ds", pa.string()),
        ("model_id", pa.string()),
        ("hour", pa.timestamp("us", tz="UTC")),
        ("rows", pa.int64()),
    ]
    return pa.schema(head + [(metric.name, pa.float64()) for metric in target.metrics])


def figures_ddl(target: Target) -> str:
    """The same for Spark."""
    figures = ", ".join(f"{metric.name} double" for metric in target.metrics)
    return f"ds string, model_id string, hour timestamp, rows bigint, {figures}"


def figures(target: Target, labels: NDArray[Any], answers: NDArray[np.float64]) -> dict[str, Any]:
    """The figures of at least one answer; the skill is None where all labels are alike."""
    return {
        "rows": len(labels),
        target.skill.name: skill_if_any(target, labels, answers),
        target.loss.name: loss(target, labels, answers),
        target.error.name: error(target, labels, answers),
        target.calibration_error.name: calibration_error(target, labels, answers),
    }


def day_figures(answers: pa.Table, target: Target) -> pa.Table:
    """The figures (``figures_schema``) of one day's labelled answers (``ds, model_id, hour, label, answer``).

    One row per model, ``hour`` null, and one per model and hour.
    """
    rows = []
    for model_id in pc.unique(answers["model_id"]).to_pylist():
        of_model = answers.filter(pc.equal(answers["model_id"], model_id))
        rows.append(_row(of_model, target, model_id, None))
        for hour in sorted(pc.unique(of_model["hour"]).to_pylist()):
            of_hour = of_model.filter(pc.equal(of_model["hour"], pa.scalar(hour, of_model["hour"].type)))
            rows.append(_row(of_hour, target, model_id, hour))
    return pa.Table.from_pylist(rows, schema=figures_schema(target))


def _row(answers: pa.Table, target: Target, model_id: str, hour: Any) -> dict[str, Any]:
    found = figures(target, answers["label"].to_numpy(), answers["answer"].to_numpy())
    return {"ds": answers["ds"][0].as_py(), "model_id": model_id, "hour": hour, **found}


def quality_messages(
    use_case: str, target: Target, run_id: str, time: str, rows: Iterable[Mapping[str, Any]]
) -> list[Message]:
    """Metrics messages of kind ``model_quality``, role and split ``live``, from rows of ``day_figures``.

    ``hour`` is a text (RFC 3339, UTC) or None; ``time`` is when it was measured.
    """
    return [_message(use_case, target, run_id, time, dict(row)) for row in rows]


def _message(use_case: str, target: Target, run_id: str, time: str, row: dict[str, Any]) -> Message:
    identity = live_quality_id(use_case, target, row)
    message = {
        "metric_id": identity,
        "kind": "model_quality",
        "use_case": use_case,
        "time": time,
        "run_id": run_id,
        "role": "live",
        "split": "live",
        "from_ds": row["ds"],
        "to_ds": row["ds"],
        **row,
    }
    return identity, message


def live_quality_id(use_case: str, target: Target, row: Mapping[str, Any]) -> str:
    """The identity of live figures: whose, of when, and a digest of what they are."""
    measured = {"rows", *(metric.name for metric in target.metrics)}
    found = {name: value if value is None else f"{value:.9g}" for name, value in row.items() if name in measured}
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    return f"model_quality/{use_case}/{row['ds']}/{row['hour'] or 'day'}/{row['model_id']}/live/{digest}"
