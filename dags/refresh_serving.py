"""Every few minutes, and after a day is loaded: Spark writes the recent days and statistics into MySQL."""

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from lambda_dl.cases import CASES
from lambda_dl.conventions import COSTLY, common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.tasks import anything_ingested

CRON = DEPLOYMENT.refresh_cron

for case in CASES:
    with DAG(
        **common("refresh_serving", case, "serving"),
        schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CRON, timezone="UTC"), assets=[case.warehouse])
        if CRON
        else [case.warehouse],
        max_active_runs=1,
    ):
        refresh = SparkJobOperator(
            task_id="refresh",
            job="refresh_serving",
            use_case=case.name,
            pool="write_serving",
            outlets=[case.serving],
            **COSTLY,
        )
        anything_ingested() >> refresh
