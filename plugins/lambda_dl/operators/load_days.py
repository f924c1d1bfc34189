"""Starts ``load_metrics`` for the days that a run has preprocessed.

Airflow 3.3 cannot put a cron and a partitioned asset into one timetable, and a partitioned run's events start no
ordinary DAG: so the hourly DAG has the cron, and each preprocessed day starts it like this.
"""

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from lambda_dl.cases import Case


class LoadDaysOperator(TriggerDagRunOperator):
    """Trigger ``load_metrics`` with this run's days; a repeat of the task clears that run instead of adding one."""

    def __init__(self, *, case: Case, task_id: str = "load_days", **kwargs: Any) -> None:
        super().__init__(
            task_id=task_id,
            trigger_dag_id=case.dag_id("load_metrics"),
            trigger_run_id="{{ dag.dag_id }}__{{ run_id }}",
            conf={"from": "{{ first_day(dag_run, params) }}", "to": "{{ last_day(dag_run, params) }}"},
            logical_date=None,
            reset_dag_run=True,
            **kwargs,
        )
