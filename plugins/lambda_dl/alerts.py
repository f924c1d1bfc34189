"""How Airflow tells somebody: call-backs of failed tasks and missed deadlines become alerts.

They run where Airflow calls them back (the task's own process, or the executor's) and never fail. What an alert is and
where it goes is ``include.alerts``' affair.
"""

import logging
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from lambda_dl.cases import case_of
from lambda_dl.connections import S3, connected
from lambda_dl.deployment import DEPLOYMENT

log = logging.getLogger(__name__)


def task_failed(context: Mapping[str, Any]) -> None:
    """Call-back of a task that has failed for good."""
    ti, run = context["ti"], context["dag_run"]
    # A landing that never came is a late day, not a fault of the task.
    kind = "day_late" if ti.task_id == "wait_for_landing" else "task_failed"
    words = f"{ti.dag_id}.{ti.task_id} failed in run {run.run_id}: {str(context.get('exception'))[:1000]}"
    _tell(ti.dag_id, kind, f"{ti.dag_id}.{ti.task_id}", words, run.partition_key or run.run_id, run.run_id)


def deadline_missed(context: Mapping[str, Any], dag_id: str, limit: float) -> None:
    """Call-back of a run that has not ended within its deadline; ``limit`` in seconds."""
    run_id = str(context["dag_run"]["dag_run_id"])
    words = f"run {run_id} of {dag_id} has not ended {timedelta(seconds=limit)} after it was queued"
    _tell(dag_id, "deadline_missed", dag_id, words, run_id, run_id)


def _tell(dag_id: str, kind: Any, subject: str, words: str, day: str, run_id: str) -> None:
    from include.alerts import Alert, tell

    alert = Alert(kind, subject, words, day, run_id)
    try:
        with connected(S3):
            tell(case_of(dag_id).name, alert, os.environ)
    except Exception:
        log.exception("nobody could be told: %s", words)


def deadline(dag_id: str) -> DeadlineAlert | None:
    """The deadline of a DAG's runs, counted from when a run is queued; None if the deployment sets it to 0."""
    limit = DEPLOYMENT.deadline(dag_id)
    if not limit:
        return None
    callback: Callable[..., None] = deadline_missed
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=limit),
        callback=SyncCallback(callback, kwargs={"dag_id": dag_id, "limit": limit}),
        name=f"{dag_id} in time",
    )
