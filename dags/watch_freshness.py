"""Every quarter of an hour: a stale refresh, a late day, a broken threshold of quality are told to somebody."""

from airflow.sdk import DAG

from lambda_dl.cases import CASES
from lambda_dl.conventions import common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.tasks import watch_freshness

for case in CASES:
    with DAG(**common("watch_freshness", case, "serving", "alerts"), schedule=DEPLOYMENT.watch_cron, max_active_runs=1):
        watch_freshness()
