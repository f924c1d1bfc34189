"""The metrics messages of the batch layer's models: what ``load_metrics`` puts into the Hive tables.

A message's ``metric_id`` follows from the run and what was measured, so that a repeat replaces and never doubles.
It knows the columns of ``training_runs`` and ``model_quality``: not Kafka, nor who measured.
"""

import json
from collections.abc import Sequence
from typing import Any

from include.target import Target, validated
from include.training.metrics import Quality
from include.training.trial import TrialSummary


def training_run(use_case: str, target: Target, run_id: str, time: str, trial: TrialSummary) -> dict[str, Any]:
    """One trial, as of ``time`` (RFC 3339, UTC)."""
    return {
        **_head("training_run", use_case, run_id, time, trial.trial_id),
        "trial_id": trial.trial_id,
        "status": trial.status,
        "config": json.dumps(dict(trial.config), sort_keys=True),
        "epochs": trial.epochs,
        validated(target.skill): trial.validation_skill,
        validated(target.loss): trial.validation_loss,
        "seconds": round(trial.seconds, 3),
    }


def model_quality(
    use_case: str, run_id: str, time: str, model_id: str, role: str, split: str, days: Sequence[str], figures: Quality
) -> dict[str, Any]:
    """The quality of a model or rival on a span of days; ``model_id`` is empty for a rival that is no bundle."""
    return {
        **_head("model_quality", use_case, run_id, time, f"{role}:{split}"),
        "model_id": model_id,
        "role": role,
        "split": split,
        "from_ds": days[0],
        "to_ds": days[-1],
        **figures.to_json(),
    }


def _head(kind: str, use_case: str, run_id: str, time: str, what: str) -> dict[str, Any]:
    return {
        "metric_id": f"{run_id}:{kind}:{what}",
        "kind": kind,
        "use_case": use_case,
        "ds": time[:10],
        "time": time,
        "run_id": run_id,
    }
