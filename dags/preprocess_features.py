"""For each ingested day: raw -> tiles, features and closed labels; announced on Kafka; closes the book."""

from airflow.sdk import DAG, PartitionedAssetTimetable

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, PATIENT, TRANSIENT, common, optional_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.load_days import LoadDaysOperator
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.sensors.batch_event import DayAnnouncedSensor
from lambda_dl.tasks import close_preprocess_book, derive_left_behind, require_earlier_days

for case in CASES:
    with DAG(
        **common("preprocess_features", case, "batch"),
        schedule=PartitionedAssetTimetable(assets=case.raw),
        # A day waits for earlier ones: enough runs at once that those are not kept from starting.
        max_active_runs=32,
        params={"day": optional_day("Day", "UTC day to preprocess, for a run without a partition key")},
    ):
        preprocess = SparkJobOperator(
            task_id="preprocess",
            job="preprocess_features",
            use_case=case.name,
            first="{{ first_day(dag_run, params) }}",
            last="{{ last_day(dag_run, params) }}",
            pool="write_features",
            **COSTLY,
        )
        announced = DayAnnouncedSensor(
            task_id="await_announcement",
            use_case=case.name,
            announcer="preprocess",
            limit=DEPLOYMENT.announcement_limit,
            **TRANSIENT,
        )
        (
            require_earlier_days.override(**PATIENT)()
            >> preprocess
            >> announced
            >> close_preprocess_book.override(outlets=[case.features])()
            >> LoadDaysOperator(case=case)
            >> derive_left_behind(case)
        )
