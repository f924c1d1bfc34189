"""What the tests of this package share: their days, a run of a DAG followed to its end, the rows of a Delta table."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from deltalake import DeltaTable

from include.locations import Lake
from include.settings import S3Settings
from include.use_case import load_use_case
from local_stack.airflow_api import AirflowApi

USE_CASE = load_use_case("flight_delay")
FIRST = USE_CASE.history_start
LAST = FIRST + timedelta(days=9)
#: Streamed first, and by night in the batch layer.
NIGHTLY = LAST + timedelta(days=1)
#: What assets start for analysts, MySQL and statistics, starts when a test wants it: each costs minutes on two cores,
#: and a refresh would swap tables under a test. The rest of the DAGs run as they do for users.
FOR_ANALYSTS = ("refresh_serving", "compute_statistics")


def run(airflow: AirflowApi, dag_id: str, conf: Mapping[str, Any] | None = None, key: str | None = None) -> str:
    """Trigger a DAG and follow it to its success; the run's id."""
    airflow.wait_for_dag(dag_id)
    airflow.unpause(dag_id)
    run_id = airflow.trigger(dag_id, conf, key)
    airflow.follow(dag_id, run_id, 900)
    if dag_id in FOR_ANALYSTS:
        airflow.pause(dag_id)
    return run_id


def rows(environment: Mapping[str, str], table: str, **equal: str) -> list[dict[str, Any]]:
    """The rows of a table of the lake whose columns equal what is given."""
    location = Lake(USE_CASE.name).path(table, "s3")
    options = S3Settings.from_environment(environment).delta_options()
    filters = [(name, "=", value) for name, value in equal.items()] or None
    found: list[dict[str, Any]] = (
        DeltaTable(location, storage_options=options).to_pyarrow_table(filters=filters).to_pylist()
    )
    return found
