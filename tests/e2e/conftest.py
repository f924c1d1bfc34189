"""Airflow and the stack's environment; nothing runs for analysts beside a test, and in the end nothing at all."""

import os
from collections.abc import Iterator, Mapping

import pytest

from local_stack.airflow_api import AirflowApi, poll
from tests.e2e.steps import FOR_ANALYSTS


@pytest.fixture(scope="package")
def environment() -> Mapping[str, str]:
    return os.environ


@pytest.fixture(scope="package")
def airflow(environment: Mapping[str, str]) -> AirflowApi:
    return AirflowApi.from_environment(environment)


@pytest.fixture(scope="package", autouse=True)
def quiet(airflow: AirflowApi) -> Iterator[None]:
    """Pause what tests start themselves; in the end pause every DAG, and let no task go on beside what follows."""
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
