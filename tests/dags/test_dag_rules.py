"""Rules that every DAG keeps, and the commands that its tasks render (golden files)."""

import json
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
DAG_IDS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
BATCH_DAGS = {
    "ingest_raw",
    "preprocess_features",
    "train_model",
    "promote_model",
    "load_metrics",
    "refresh_serving",
    "ingest_window",
}
#: How each golden file's run was started.
RUNS: dict[str, dict[str, Any]] = {
    "ingest_raw": {"partition_key": "2013-01-05"},
    "preprocess_features": {"partition_key": "2013-01-05"},
    "ingest_window": {"params": {"from": "2013-01-01", "to": "2013-01-28"}},
    "train_model": {"params": {"trials": 4, "seed": 7}},
    "retract_day": {"params": {"source": "weather", "ds": "2013-01-02"}},
    "release_quarantine": {"params": {"source": "weather", "from": "2013-01-02", "to": "2013-01-03"}},
}
CONNECTIONS = {
    "SPARK": {"conn_type": "spark", "host": "local[2]", "extra": {"deploy-mode": "client"}},
    "S3": {
        "conn_type": "aws",
        "login": "a-key",
        "password": "a-secret",
        "extra": {"endpoint_url": "http://s3:1", "region_name": "us-east-1"},
    },
    "KAFKA": {"conn_type": "kafka", "extra": {"bootstrap.servers": "kafka:2"}},
    "MYSQL": {
        "conn_type": "mysql",
        "host": "mysql",
        "port": 3,
        "login": "batch",
        "password": "a-secret",
        "schema": "serving",
    },
    "HIVE": {"conn_type": "hiveserver2", "host": "hive", "port": 4, "login": "analyst"},
    "METASTORE": {"conn_type": "hive_metastore", "host": "metastore", "port": 5},
    "RAY": {"conn_type": "http", "host": "ray", "port": 6, "password": "a-secret"},
    "PREDICTOR": {"conn_type": "http", "host": "predictor", "port": 7, "password": "a-secret"},
}


def test_the_batch_layer_is_complete(dags: dict[str, Any]) -> None:
    assert set(dags) >= BATCH_DAGS
    assert sorted(dags) == DAG_IDS, "the file's stem is the DAG's id"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_dag_keeps_the_rules(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert "## When it fails" in (dag.doc_md or ""), "says what to do when it fails"
    assert "lambda-dl" in dag.tags and len(dag.tags) >= 3
    assert dag.catchup is False
    assert dag.is_paused_upon_creation is False
    for task in dag.tasks:
        assert task.owner == "lambda-dl"
        assert task.retries >= 1, f"{task.task_id}: a fault that passes by is tried again"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_somebody_is_told_when_a_run_fails_or_is_late(dags: dict[str, Any], dag_id: str) -> None:
    assert all(task.has_on_failure_callback for task in dags[dag_id].tasks)
    (deadline,) = dags[dag_id].deadline
    assert deadline.callback.path == "lambda_dl.alerts.deadline_missed"
    assert deadline.callback.kwargs["dag_id"] == dag_id


def test_tables_are_maintained_in_their_writers_pools(dags: dict[str, Any]) -> None:
    from include.tables import all_tables, tables_by_writer
    from include.use_case import load_use_case

    use_case = load_use_case("flight_delay")
    writers = tables_by_writer(use_case)
    tasks = {task.task_id.removeprefix("maintain_"): task.pool for task in dags["maintain_tables"].tasks}
    assert set(tasks) == set(writers)
    assert {writer: pool for writer, pool in tasks.items() if pool != f"write_{writer}"} == {"small": "default_pool"}
    names = [name for tables in writers.values() for name in tables]
    assert sorted(names) == sorted(table.name for table in all_tables(use_case)), "every table, once"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_form_field_has_type_and_words(dags: dict[str, Any], dag_id: str) -> None:
    for name in dags[dag_id].params:
        schema = dags[dag_id].params.get_param(name).schema
        assert schema.get("type") and schema.get("title"), name
        assert dags[dag_id].params.get_param(name).description, name


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_form_can_be_sent_with_its_optional_fields_empty(dags: dict[str, Any], dag_id: str) -> None:
    """Airflow's form keeps its button grey while a field that may not be null is empty."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    asked = [task.params for task in dags[dag_id].tasks if isinstance(task, HITLOperator)]
    for params in [dags[dag_id].params, *asked]:
        for name in params:
            param = params.get_param(name)
            assert not (param.has_value and param.value == ""), f"{name}: None, and null among its types"


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_a_dag_survives_serialization(dags: dict[str, Any], dag_id: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    encoded = DagSerialization.to_dict(dags[dag_id])
    assert DagSerialization.from_dict(json.loads(json.dumps(encoded))).dag_id == dag_id


def test_one_driver_writes_each_big_table(dags: dict[str, Any]) -> None:
    from lambda_dl.operators.spark_job import SparkJobOperator

    pools: dict[str, set[str]] = {}
    for dag in dags.values():
        for task in dag.tasks:
            if isinstance(task, SparkJobOperator):
                pools.setdefault(task.job, set()).add(task.pool)
    assert pools == {
        "ingest_raw": {"write_raw"},
        "release_quarantine": {"write_raw"},
        "preprocess_features": {"write_features"},
        "score_predictions": {"write_predictions"},
        "refresh_serving": {"write_serving"},
        "compute_statistics": {"write_statistics"},
    }


def test_metrics_are_loaded_when_there_is_nothing_to_score(dags: dict[str, Any]) -> None:
    dag = dags["load_metrics"]
    assert dag.get_task("anything_to_score").ignore_downstream_trigger_rules is False, "skips the job alone"
    assert dag.get_task("load_metrics").trigger_rule == "all_done", "a job that was skipped, or failed, is no reason"
    assert dag.get_task("anything_ingested").ignore_downstream_trigger_rules is True, "skips everything"


def test_metrics_are_loaded_when_scoring_fails_and_the_run_fails(dags: dict[str, Any]) -> None:
    dag = dags["load_metrics"]
    assert dag.get_task("read_back_metrics").upstream_task_ids == {"load_metrics"}
    (last,) = dag.leaves
    assert last.upstream_task_ids == {"score_predictions", "read_back_metrics"}
    assert last.trigger_rule == "none_failed", "fails with either, and not for a job that was skipped"


def test_the_nightly_partition_is_the_day_that_has_just_ended(dags: dict[str, Any]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dags["ingest_raw"])).timetable
    restriction = TimeRestriction(datetime(2026, 1, 10, tzinfo=UTC), None, True)
    info = timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
    assert info is not None and info.partition_key == "2026-01-09"
    span = timetable.iter_partition_dagrun_infos(
        earliest=datetime(2013, 1, 1, tzinfo=UTC), latest=datetime(2013, 1, 5, tzinfo=UTC)
    )
    assert [info.partition_key for info in span] == [f"2013-01-0{day}" for day in range(1, 6)]


class FakeTi:
    """The task instance of a rendered task; its only upstream value is the training window."""

    map_index = -1

    def __init__(self, dag_id: str, task_id: str) -> None:
        self.dag_id, self.task_id, self.run_id = dag_id, task_id, "run-1"

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> dict[str, str]:
        return {"from": "2013-01-01", "to": "2013-01-27", "without": "2013-01-05,2013-01-09"}


class FakeRun:
    def __init__(self, partition_key: str | None) -> None:
        self.run_id, self.partition_key = "run-1", partition_key


def rendered(dag: Any) -> str:
    """Every task of a DAG in order, with what it would run."""
    run = RUNS.get(dag.dag_id, {})
    params = {**{name: dag.params[name] for name in dag.params if dag.params.get_param(name).has_value}}
    params = {**dict.fromkeys(dag.params), **params, **run.get("params", {})}
    lines = [f"# {dag.dag_id}, run {json.dumps(run)}"]
    for task in dag.topological_sort():
        context = {
            "dag": dag,
            "dag_run": FakeRun(run.get("partition_key")),
            "params": params,
            "run_id": "run-1",
            "ti": FakeTi(dag.dag_id, task.task_id),
        }
        downstream = " ".join(sorted(task.downstream_task_ids)) or "-"
        lines += [
            "",
            f"{task.task_id} [pool {task.pool}, retries {task.retries}] -> {downstream}",
            *command(task, context),
        ]
    return "\n".join(lines) + "\n"


def command(task: Any, context: dict[str, Any]) -> list[str]:
    """What a task would run, one word or field a line."""
    from lambda_dl.operators.load_days import LoadDaysOperator
    from lambda_dl.operators.ray_train import RayTrainOperator
    from lambda_dl.operators.ray_train import command as ray_command
    from lambda_dl.operators.spark_job import SparkJobOperator
    from lambda_dl.sensors.batch_event import DayAnnouncedSensor

    if isinstance(task, SparkJobOperator | RayTrainOperator | LoadDaysOperator):
        task.render_template_fields(context)
    if isinstance(task, SparkJobOperator):
        hook = task._get_hook()
        words = hook._build_spark_submit_command(task.application)
        environment = sorted(name for name in hook._env or {} if name != "PYTHONPATH")
        return [f"  {shlex.join(words).replace(str(ROOT), '<repository>')}", f"  environment: {' '.join(environment)}"]
    if isinstance(task, RayTrainOperator):
        return [f"  {ray_command('python', task.module, task.arguments)}"]
    if isinstance(task, LoadDaysOperator):
        return [f"  {task.trigger_dag_id} {json.dumps(task.conf)} as {task.trigger_run_id}"]
    if isinstance(task, DayAnnouncedSensor):
        return [f"  {task.topic}: {len(task.expectations(context))} messages, first {task.expectations(context)[0]}"]
    return [f"  {type(task).__name__}"]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fields in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_LAMBDA_DL_{name}", json.dumps(fields))


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_rendered_commands_match_the_golden_file(dags: dict[str, Any], dag_id: str, connected: None) -> None:
    """After an intended change: ``REGENERATE_GOLDEN=1 pytest tests/dags``, then read the difference."""
    text = rendered(dags[dag_id])
    assert "a-secret" not in text
    path = GOLDEN / f"{dag_id}.txt"
    if os.environ.get("REGENERATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()
