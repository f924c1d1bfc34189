"""Every few minutes, and after a day is loaded: Spark writes the recent days and statistics into MySQL."""

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable

from lambda_dl.assets import SERVING, WAREHOUSE
from lambda_dl.conventions import COSTLY, common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.spark_job import SparkJobOperator
from lambda_dl.tasks import anything_ingested

CRON = DEPLOYMENT.refresh_cron

with DAG(
    **common("refresh_serving", "serving"),
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CRON, timezone="UTC"), assets=[WAREHOUSE])
    if CRON
    else [WAREHOUSE],
    max_active_runs=1,
):
    refresh = SparkJobOperator(
        task_id="refresh", job="refresh_serving", pool="write_serving", outlets=[SERVING], **COSTLY
    )
    anything_ingested() >> refresh
