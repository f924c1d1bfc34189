"""Derives days again after their facts have changed, by the DAG that derives many days in one Spark run each.

``ingest_window`` ingests nothing new of files that it knows, and closes the same books: there is no second way.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

DERIVING_DAG = "ingest_window"


class DeriveDaysOperator(TriggerDagRunOperator):
    """Trigger ``ingest_window`` (the use case's, by ``trigger_dag_id``) for a span of days and wait, deferred, for its
    end; expanded over ``runs_for``."""

    def __init__(self, **kwargs: Any) -> None:
        fixed = {
            "logical_date": None,
            # A repeat of the task clears that run instead of adding one.
            "reset_dag_run": True,
            "wait_for_completion": True,
            "deferrable": True,
            "poke_interval": 10,
        }
        super().__init__(**{**fixed, **kwargs})


def runs_for(spans: Iterable[tuple[date, date]], dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """The arguments of one triggered run a span, named after the run that asks and the days."""
    return [
        {
            "conf": {"from": first.isoformat(), "to": last.isoformat()},
            # Both days: a run of this name that was triggered before would keep the days that it had.
            "trigger_run_id": f"{dag_id}__{run_id}__{first.isoformat()}_{last.isoformat()}",
        }
        for first, last in spans
    ]
