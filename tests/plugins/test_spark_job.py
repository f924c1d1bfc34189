"""A Spark job's secrets stay in its environment, and its processes end with its task."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lambda_dl.operators.spark_job import SparkJobOperator, data_error, end_process_group, settings_for

CONNECTIONS = {
    "SPARK": {"conn_type": "spark", "host": "local[2]", "extra": {"conf": {"spark.driver.memory": "1g"}}},
    "S3": {"conn_type": "aws", "login": "k", "password": "a-secret", "extra": {"endpoint_url": "http://s3"}},
    "KAFKA": {"conn_type": "kafka", "extra": {"bootstrap.servers": "k:1"}},
    "MYSQL": {
        "conn_type": "mysql",
        "host": "m",
        "port": 3,
        "login": "b",
        "password": "a-secret",
        "schema": "serving",
    },
    "METASTORE": {"conn_type": "hive_metastore", "host": "ms", "port": 5},
}


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fields in CONNECTIONS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_LAMBDA_DL_{name}", json.dumps(fields))


def operator() -> SparkJobOperator:
    return SparkJobOperator(
        task_id="t", job="ingest_raw", use_case="flight_delay", first="2013-01-01", last="2013-01-02"
    )


def test_secrets_are_in_the_environment_alone(connected: None) -> None:
    task = operator()
    hook = task._get_hook()
    assert hook._env is not None and hook._env["S3_SECRET_KEY"] == "a-secret"
    words = hook._build_spark_submit_command(task.application)
    assert "spark.driver.memory=1g" in words
    assert "a-secret" not in json.dumps([words, [str(getattr(task, name)) for name in task.template_fields]])
    # The hook must not have replaced the environment while it built the command.
    assert hook._env["LAMBDA_DL_DIE_WITH_PARENT"] == "1"


def test_cluster_mode_is_refused(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"conn_type": "spark", "host": "spark://m:7077", "extra": {"deploy-mode": "cluster"}}
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_SPARK", json.dumps(fields))
    with pytest.raises(AirflowFailException, match="deploy-mode"):
        operator()._get_hook()


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
OF_CLUSTERS = re.findall(r"AIRFLOW_CONN_LAMBDA_DL_SPARK='(.*?)'", PAGE, re.DOTALL)


@pytest.mark.parametrize("connection", OF_CLUSTERS, ids=lambda text: str(json.loads(text)["host"]).partition(":")[0])
def test_every_master_of_the_page_on_clusters_is_submitted_to(
    connected: None, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_SPARK", connection)
    words = operator()._get_hook()._build_spark_submit_command("job.py")
    fields = json.loads(connection)
    assert words[words.index("--master") + 1].startswith(fields["host"])
    assert {f"{name}={value}" for name, value in fields["extra"]["conf"].items()} <= set(words)


def test_the_page_on_clusters_has_three_masters() -> None:
    assert [json.loads(text)["host"].partition(":")[0] for text in OF_CLUSTERS] == ["spark", "yarn", "k8s"]


LONG = {"conf": {"a": "1", "b": "1"}, "long_spans": {"days": 3, "conf": {"b": "2"}}}


@pytest.mark.parametrize(("days", "b"), [(0, "1"), (2, "1"), (3, "2")])
def test_a_long_span_has_settings_of_its_own(days: int, b: str) -> None:
    assert settings_for(LONG, days) == {"a": "1", "b": b}
    assert settings_for({"conf": LONG["conf"]}, days) == LONG["conf"]
    assert settings_for({}, days) == {}


@pytest.mark.parametrize("wrong", [{"days": "many", "conf": {}}, {"days": 3}, {"conf": {}}, 3])
def test_settings_for_long_spans_that_make_no_sense_are_named(wrong: object) -> None:
    with pytest.raises(AirflowFailException, match="lambda_dl_spark: its extra long_spans .* days, a whole number"):
        settings_for({"long_spans": wrong}, 5)


def test_the_days_of_a_job_are_those_between_its_first_and_last(
    connected: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "spark", "host": "local[2]", "extra": {"long_spans": {"days": 2, "conf": {"x.y": "z"}}}}
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_SPARK", json.dumps(fields))
    hook = operator()._get_hook()
    assert "x.y=z" in hook._build_spark_submit_command("job.py")
    by_itself = SparkJobOperator(task_id="t", job="refresh_serving", use_case="flight_delay")
    assert "x.y=z" not in by_itself._get_hook()._build_spark_submit_command("job.py")


def test_an_error_of_the_data_is_known_by_its_traceback() -> None:
    head = "Cannot execute: spark-submit. Error code is: 1.\nLast spark-submit output:\n"
    wrong = head + "__main__.LandingFileChanged: s3://landing/x has another hash"
    assert data_error(wrong) and not data_error(head + "py4j.protocol.Py4JNetworkError: gone")
    with pytest.raises(AirflowFailException):
        operator()._raise(AirflowException(wrong))
    with pytest.raises(AirflowException) as caught:
        operator()._raise(AirflowException(head))
    assert not isinstance(caught.value, AirflowFailException)


DRIVER = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"])
child.wait()
"""


def test_a_stubborn_driver_and_its_children_are_ended() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "up\n"
    end_process_group(driver, grace=0.2)
    assert driver.wait(10) == -signal.SIGKILL
    assert driver.stdout.read() == "", "the child held the pipe open; its end closes it"
    driver.stdout.close()


PARENT = """
import subprocess, sys
from lambda_dl.operators.spark_job import _die_with_parent
code = "import time; print('up', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, preexec_fn=_die_with_parent())
child.wait()
"""


def test_a_driver_dies_with_a_task_that_was_killed_outright() -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    task = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert task.stdout is not None and task.stdout.readline() == "up\n"
    task.kill()
    task.wait(10)
    assert task.stdout.read() == "", "the driver held the pipe open; its end closes it"
    task.stdout.close()
