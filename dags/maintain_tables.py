"""Every night, and by hand: compacts, expires and vacuums the lake's tables, never what a bundle pins."""

from airflow.sdk import DAG

from lambda_dl.cases import CASES
from lambda_dl.conventions import common
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.tasks import maintain

#: Who writes a group of tables -> the pool in which its job runs: while it is taken here, no job writes there.
POOLS = {
    "raw": "write_raw",
    "features": "write_features",
    "predictions": "write_predictions",
    "statistics": "write_statistics",
    "small": "default_pool",
}

for case in CASES:
    with DAG(
        **common("maintain_tables", case, "batch", "life-cycle"), schedule=DEPLOYMENT.maintain_cron, max_active_runs=1
    ):
        for writer, pool in POOLS.items():
            maintain.override(task_id=f"maintain_{writer}", pool=pool)(writer)
