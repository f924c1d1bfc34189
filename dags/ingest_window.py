"""By hand, ``from``/``to``: the jobs of ingest_raw and preprocess_features over many days in one Spark run each."""

from airflow.sdk import DAG

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, TRANSIENT, common, required_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.load_days import LoadDaysOperator
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.sensors.batch_event import DayAnnouncedSensor
from lambda_dl.sensors.landing import LandingSensor
from lambda_dl.tasks import (
    close_ingest_book_of_window,
    close_preprocess_book,
    derive_left_behind,
    require_earlier_days,
)

SPAN = {"first": "{{ first_day(dag_run, params) }}", "last": "{{ last_day(dag_run, params) }}"}

for case in CASES:
    with DAG(
        **common("ingest_window", case, "batch", "by-hand"),
        schedule=None,
        max_active_runs=1,
        params={"from": required_day("From", "First UTC day"), "to": required_day("To", "Last UTC day, included")},
    ):
        wait = LandingSensor(
            task_id="wait_for_landing", use_case=case.name, limit=DEPLOYMENT.landing_limit, **TRANSIENT
        )
        ingest = SparkJobOperator(
            task_id="ingest", job="ingest_raw", use_case=case.name, pool="write_raw", **SPAN, **COSTLY
        )
        preprocess = SparkJobOperator(
            task_id="preprocess", job="preprocess_features", use_case=case.name, pool="write_features", **SPAN, **COSTLY
        )
        announced = DayAnnouncedSensor(
            task_id="await_announcement",
            use_case=case.name,
            announcer="preprocess",
            limit=DEPLOYMENT.announcement_limit,
            **TRANSIENT,
        )
        (wait >> ingest >> close_ingest_book_of_window() >> require_earlier_days() >> preprocess)
        (
            preprocess
            >> announced
            >> close_preprocess_book.override(outlets=[case.features])()
            >> LoadDaysOperator(case=case)
            >> derive_left_behind(case)
        )
