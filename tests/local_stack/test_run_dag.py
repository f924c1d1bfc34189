"""A DAG is run to its end, and then the one that it starts; a form that is no JSON is refused."""

from typing import Any

import pytest

from local_stack.airflow_api import RunFailed
from local_stack.run_dag import parse, run_dag


class Airflow:
    """Writes down what it is asked for; the run of ``failing`` fails."""

    def __init__(self, failing: str = "") -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.failing = failing

    def wait_for_dag(self, dag_id: str) -> None:
        self.asked.append(("wait", dag_id))

    def unpause(self, dag_id: str) -> None:
        self.asked.append(("unpause", dag_id))

    def trigger(self, dag_id: str, conf: Any) -> str:
        self.asked.append(("trigger", dag_id, conf))
        return "run-1"

    def wait_for_triggered_run(self, dag_id: str, since: Any) -> str:
        return "run-2"

    def follow(self, dag_id: str, run_id: str, seconds: float) -> None:
        self.asked.append(("follow", dag_id, run_id))
        if dag_id == self.failing:
            raise RunFailed(dag_id)


def test_both_runs_are_followed() -> None:
    airflow = Airflow()
    options = parse(["train", '{"trials": 2}', "--then", "promote"])
    run_dag(airflow, options.dag_id, options.form, options.then)  # type: ignore[arg-type]
    known = [(what, name) for name in ("train", "promote") for what in ("wait", "unpause")]
    assert airflow.asked == [
        *known,
        ("trigger", "train", {"trials": 2}),
        ("follow", "train", "run-1"),
        ("follow", "promote", "run-2"),
    ]


def test_a_failed_run_starts_nothing_more() -> None:
    airflow = Airflow(failing="train")
    with pytest.raises(RunFailed):
        run_dag(airflow, "train", {}, "promote")  # type: ignore[arg-type]
    assert airflow.asked[-1] == ("follow", "train", "run-1")


def test_a_form_that_is_no_json_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["train", "trials=2"])
    assert "invalid loads value: 'trials=2'" in capsys.readouterr().err
