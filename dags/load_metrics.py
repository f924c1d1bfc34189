"""For each preprocessed day, hourly, and by hand: Kafka metrics -> Hive tables, read back through HiveServer2."""

from airflow.sdk import DAG

from lambda_dl.conventions import common, optional_day
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.tasks import anything_ingested, load_metrics, read_back_metrics

with DAG(
    **common("load_metrics", "serving"),
    schedule=DEPLOYMENT.metrics_cron,
    # delta-rs lets many write, but two loads at once would only do the same work twice.
    max_active_runs=1,
    params={
        "from": optional_day("From", "Only said in the log: every message not loaded yet is loaded"),
        "to": optional_day("To", "Only said in the log"),
    },
):
    anything_ingested() >> load_metrics() >> read_back_metrics()
