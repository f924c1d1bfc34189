"""By hand, a form: quarantined rows that pass their contract now -> raw; the days that they touch are derived again."""

from airflow.sdk import DAG, Param

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, TRANSIENT, common, required_day
from lambda_dl.operators.derive_days import DERIVING_DAG, DeriveDaysOperator
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.recovery import days_released, dry_run_field, source_field, unless_dry_run
from lambda_dl.tasks import close_ingest_book_of_window, require_ingested_days

for case in CASES:
    with DAG(
        **common("release_quarantine", case, "batch", "by-hand"),
        schedule=None,
        max_active_runs=1,
        params={
            "source": source_field(case, "Whose quarantined rows"),
            "from": required_day("From", "First UTC day"),
            "to": required_day("To", "Last UTC day, included"),
            "reason_contains": Param(
                None,
                type=["null", "string"],
                title="Reason contains",
                description="Only rows of which a reason contains this text; empty: all",
            ),
            "dry_run": dry_run_field("Only count, in the log of the task release, what would be released"),
        },
    ):
        release = SparkJobOperator(
            task_id="release",
            job="release_quarantine",
            use_case=case.name,
            first="{{ first_day(dag_run, params) }}",
            last="{{ last_day(dag_run, params) }}",
            arguments={
                "source": "{{ params.source }}",
                "reason": "{{ params.reason_contains or '' }}",
                "dry-run": "{{ params.dry_run }}",
            },
            pool="write_raw",
            **COSTLY,
        )
        days = days_released()
        require_ingested_days() >> release >> unless_dry_run() >> close_ingest_book_of_window() >> days
        DeriveDaysOperator.partial(
            task_id="derive", trigger_dag_id=case.dag_id(DERIVING_DAG), **TRANSIENT
        ).expand_kwargs(days)
