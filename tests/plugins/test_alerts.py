"""Airflow's call-backs reach a real HTTP receiver, and a deadline is what the deployment says."""

from types import SimpleNamespace

import pytest

from include.alerts import WEBHOOK
from lambda_dl.alerts import deadline_missed, task_failed
from lambda_dl.deployment import DEADLINES, read_deployment
from tests.receiver import receiving

CONNECTION = '{"conn_type": "aws", "login": "k", "password": "p", "extra": {"endpoint_url": "http://127.0.0.1:9"}}'


@pytest.fixture(autouse=True)
def lake_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    from include import lake

    def refuse(*_: object, **__: object) -> int:
        raise OSError("no lake")

    monkeypatch.setattr(lake, "merge_rows", refuse)
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_S3", CONNECTION)


@pytest.mark.parametrize(("task_id", "kind"), [("ingest", "task_failed"), ("wait_for_landing", "day_late")])
def test_a_failed_task_is_told(task_id: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ti = SimpleNamespace(dag_id="ingest_raw", task_id=task_id)
    run = SimpleNamespace(run_id="run-1", partition_key="2013-01-05")
    with receiving() as receiver:
        monkeypatch.setenv(WEBHOOK, receiver.address)
        task_failed({"ti": ti, "dag_run": run, "exception": ValueError("why")})
    (document,) = receiver.documents
    assert (document["kind"], document["subject"]) == (kind, f"ingest_raw.{task_id}")
    assert document["alert_id"].endswith("/2013-01-05")
    assert "why" in document["message"]


def test_a_missed_deadline_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(WEBHOOK, receiver.address)
        deadline_missed({"dag_run": {"dag_run_id": "run-1"}}, "refresh_serving", 1800)
    assert receiver.documents[0]["message"] == "run run-1 of refresh_serving has not ended 0:30:00 after it was queued"


def test_deadlines_are_settings() -> None:
    found = read_deployment({"LAMBDA_DL_DEADLINES": "refresh_serving=60, ingest_raw=0"})
    assert [found.deadline(name) for name in ("refresh_serving", "ingest_raw", "load_metrics")] == [
        60,
        0,
        DEADLINES["others"],
    ]
    with pytest.raises(ValueError, match="LAMBDA_DL_DEADLINES has 'refresh_serving'"):
        read_deployment({"LAMBDA_DL_DEADLINES": "refresh_serving"})
