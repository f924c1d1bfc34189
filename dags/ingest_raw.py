"""Every night, one run a day: landing -> contract -> raw or quarantine; closes the ingest book."""

from airflow.sdk import DAG, CronPartitionTimetable

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, TRANSIENT, common, optional_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.sensors.landing import LandingSensor
from lambda_dl.tasks import close_ingest_book

for case in CASES:
    with DAG(
        **common("ingest_raw", case, "batch", "nightly"),
        schedule=CronPartitionTimetable(DEPLOYMENT.ingest_cron, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
        # Where an archive ends, it is the first use case's.
        end_date=DEPLOYMENT.end_of_archive if case.is_first else None,
        max_active_runs=4,
        params={
            "day": optional_day("Day", "UTC day to ingest, for a run without a partition key (the CLI gives none)")
        },
    ):
        wait = LandingSensor(
            task_id="wait_for_landing", use_case=case.name, limit=DEPLOYMENT.landing_limit, **TRANSIENT
        )
        ingest = SparkJobOperator(
            task_id="ingest",
            job="ingest_raw",
            use_case=case.name,
            first="{{ first_day(dag_run, params) }}",
            last="{{ last_day(dag_run, params) }}",
            pool="write_raw",
            **COSTLY,
        )
        wait >> ingest >> close_ingest_book.override(outlets=[case.raw])()
