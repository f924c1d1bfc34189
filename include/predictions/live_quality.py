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
from sklearn.metrics import brier_score_loss

from include.broadcast import Message
from include.training.metrics import area_under_curve, calibration_error, log_loss

FIGURES = pa.schema(
    [
        ("ds", pa.string()),
        ("model_id", pa.string()),
        ("hour", pa.timestamp("us", tz="UTC")),
        ("rows", pa.int64()),
        ("auc", pa.float64()),
        ("log_loss", pa.float64()),
        ("brier", pa.float64()),
        ("calibration_error", pa.float64()),
    ]
)
FIGURES_DDL = (
    "ds string, model_id string, hour timestamp, rows bigint, auc double, log_loss double, brier double, "
    "calibration_error double"
)


def figures(labels: NDArray[Any], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    """The figures of at least one answer; ``auc`` is None where all labels are of one class."""
    both = len(np.unique(labels)) == 2
    return {
        "rows": len(labels),
        "auc": area_under_curve(labels, probabilities) if both else None,
        "log_loss": log_loss(labels, probabilities),
        "brier": float(brier_score_loss(labels, probabilities)),
        "calibration_error": calibration_error(labels, probabilities),
    }


def day_figures(answers: pa.Table) -> pa.Table:
    """The figures (``FIGURES``) of one day's labelled answers (``ds, model_id, hour, label, probability``).

    One row per model, ``hour`` null, and one per model and hour.
    """
    rows = []
    for model_id in pc.unique(answers["model_id"]).to_pylist():
        of_model = answers.filter(pc.equal(answers["model_id"], model_id))
        rows.append(_row(of_model, model_id, None))
        for hour in sorted(pc.unique(of_model["hour"]).to_pylist()):
            of_hour = of_model.filter(pc.equal(of_model["hour"], pa.scalar(hour, of_model["hour"].type)))
            rows.append(_row(of_hour, model_id, hour))
    return pa.Table.from_pylist(rows, schema=FIGURES)


def _row(answers: pa.Table, model_id: str, hour: Any) -> dict[str, Any]:
    labels, probabilities = answers["label"].to_numpy(), answers["probability"].to_numpy()
    return {"ds": answers["ds"][0].as_py(), "model_id": model_id, "hour": hour, **figures(labels, probabilities)}


def quality_messages(use_case: str, run_id: str, time: str, rows: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Metrics messages of kind ``model_quality``, role and split ``live``, from rows of ``day_figures``.

    ``hour`` is a text (RFC 3339, UTC) or None; ``time`` is when it was measured.
    """
    return [_message(use_case, run_id, time, dict(row)) for row in rows]


def _message(use_case: str, run_id: str, time: str, row: dict[str, Any]) -> Message:
    identity = live_quality_id(use_case, row)
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


def live_quality_id(use_case: str, row: Mapping[str, Any]) -> str:
    """The identity of live figures: whose, of when, and a digest of what they are."""
    found = {name: value if value is None else f"{value:.9g}" for name, value in row.items() if name in _MEASURED}
    digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
    return f"model_quality/{use_case}/{row['ds']}/{row['hour'] or 'day'}/{row['model_id']}/live/{digest}"


_MEASURED = ("rows", "auc", "log_loss", "brier", "calibration_error")
