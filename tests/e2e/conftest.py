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
    """Pause them; in the end pause every DAG, and let no task go on beside the tests that follow."""
    airflow = AirflowApi.from_environment(os.environ)
    for dag_id in FOR_ANALYSTS:
        airflow.wait_for_dag(dag_id)
        airflow.pause(dag_id)
    yield
    airflow.call("PATCH", "/dags", params={"dag_id_pattern": "~", "limit": 100}, json={"is_paused": True})
    for _ in poll(900, every=2):
        # A run of a paused DAG starts no further task, and so may stay "running": what counts are its tasks.
        busy = airflow.call("GET", "/dags/~/dagRuns/~/taskInstances", params={"state": ["queued", "running"]})
        if not busy["total_entries"]:
            return
    names = [f"{task['dag_id']}.{task['task_id']}" for task in busy["task_instances"]]
    raise TimeoutError(f"at work 900 s after their DAGs were paused: {names}")
