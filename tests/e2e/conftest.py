"""What assets start for analysts, MySQL and statistics, starts when a test wants it: each costs minutes on two cores,
and a refresh would swap tables under a test. The rest of the DAGs run as they do for users.
"""

import os
from collections.abc import Iterator

import pytest

from local_stack.airflow_api import AirflowApi, poll

FOR_ANALYSTS = ("refresh_serving", "compute_statistics")


@pytest.fixture(scope="package", autouse=True)
def quiet() -> Iterator[None]:
    """Pause them; in the end pause every DAG, and let no run go on beside the tests that follow."""
    airflow = AirflowApi.from_environment(os.environ)
    for dag_id in FOR_ANALYSTS:
        airflow.wait_for_dag(dag_id)
        airflow.pause(dag_id)
    yield
    airflow.call("PATCH", "/dags", params={"dag_id_pattern": "~", "limit": 100}, json={"is_paused": True})
    for _ in poll(900, every=2):
        runs = airflow.call("GET", "/dags/~/dagRuns", params={"state": "running"})["dag_runs"]
        if not runs:
            return
    raise TimeoutError(f"not ended 900 s after their DAGs were paused: {[run['dag_run_id'] for run in runs]}")
