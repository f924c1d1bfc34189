"""The Ray job client, trigger and sensor, against a local imitation of Ray's job REST API (real Ray: integration)."""

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from lambda_dl.operators.ray_train import RayTrainOperator, command
from lambda_dl.ray_jobs import (
    JobInfo,
    RayJobs,
    RayRefused,
    RayUnreachable,
    next_attempt,
    progress_text,
    read_progress,
    read_result,
    submission_base,
    tail,
)
from lambda_dl.sensors.ray_tune import RayTuneSensor, TrainingFailed
from lambda_dl.triggers.ray_job import RayJobTrigger

TOKEN = "a-token"
LOGS = "\n".join(
    [
        'LAMBDA_DL_PROGRESS {"done": 1, "running": 2, "failed": 0, "trials": 4, "best": {"validation_auc": 0.7}}',
        "epoch 3",
        'LAMBDA_DL_PROGRESS {"done": 4, "running": 0, "failed": 0, "trials": 4, "best": {"validation_auc": 0.75}}',
        'LAMBDA_DL_RESULT {"model_id": "abc", "run_id": "r"}',
    ]
)


@dataclass
class FakeRay:
    """Jobs by submission id: each a list of statuses, the last of which stays."""

    port: int = 0
    jobs: dict[str, list[str]] = field(default_factory=dict)
    logs: str = LOGS
    exit_code: int | None = None
    submitted: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        words = path.strip("/").split("/")
        if method == "POST" and len(words) == 2:
            self.submitted.append(body)
            self.jobs[body["submission_id"]] = ["RUNNING"]
            return 200, {"submission_id": body["submission_id"]}
        job = words[2]
        if job not in self.jobs:
            return 404, {}
        if words[-1] == "logs":
            return 200, {"logs": self.logs}
        if words[-1] == "stop":
            self.stopped.append(job)
            self.jobs[job] = ["STOPPED"]
            return 200, {"stopped": True}
        statuses = self.jobs[job]
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if status == "BUSY":
            return 500, {}
        return 200, {"status": status, "message": "so it went", "driver_exit_code": self.exit_code}


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    fake = FakeRay()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, {}
            else:
                status, answer = fake.answer(self.command, self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = _answer  # noqa: N815 - the base class calls it so
        do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def connection(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """Every connection that the operators ask for, Ray's pointing at the imitation."""
    rays = Connection(conn_id="lambda_dl_ray", conn_type="http", host="127.0.0.1", port=ray.port, password=TOKEN)
    others = {
        "lambda_dl_s3": Connection(
            conn_id="s3", conn_type="aws", login="k", password="very-secret", extra='{"endpoint_url": "http://s3"}'
        ),
        "lambda_dl_kafka": Connection(conn_id="k", conn_type="kafka", extra='{"bootstrap.servers": "k:1"}'),
    }

    async def aget(conn_id: str) -> Connection:
        return others.get(conn_id, rays)

    monkeypatch.setattr(BaseHook, "get_connection", lambda conn_id: others.get(conn_id, rays))
    monkeypatch.setattr(BaseHook, "aget_connection", aget)
    return rays


class FakeTi:
    """A task instance that keeps its XComs."""

    dag_id, run_id, map_index, task_id = "train_model", "manual__1", -1, "follow"

    def __init__(self, try_number: int = 1, job: dict[str, Any] | None = None) -> None:
        self.try_number = try_number
        self.job = job
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str) -> Any:
        return self.job


def events(trigger: RayJobTrigger) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def follow(submission_id: str, seconds: float = 60) -> RayJobTrigger:
    return RayJobTrigger("lambda_dl_ray", submission_id, time.time() + seconds, poll_interval=0.01)


def test_progress_and_result_are_read_from_the_output() -> None:
    assert [report["done"] for report in read_progress(LOGS + '\nLAMBDA_DL_PROGRESS {"do')] == [1, 4]
    assert read_result(LOGS) == {"model_id": "abc", "run_id": "r"}
    assert read_result("nothing") is None
    assert tail("a\nLAMBDA_DL_PROGRESS {}\nb\nc", 2) == "b\nc"
    assert progress_text({"done": 1, "best": {"validation_auc": 0.75}}) == "done 1, best (validation auc 0.7500)"


def test_a_job_is_named_after_its_run() -> None:
    assert submission_base("d", "r", "-1") == submission_base("d", "r", "-1") != submission_base("d", "r2", "-1")


def test_which_attempt_is_followed() -> None:
    ended = JobInfo("x", "FAILED", "", 1)
    assert next_attempt([]) == (1, True)
    assert next_attempt([ended]) == (2, True)
    assert next_attempt([ended, JobInfo("y", "RUNNING", "", None)]) == (2, False)


def test_a_wrong_token_is_refused_and_no_server_is_unreachable(ray: FakeRay) -> None:
    address = f"http://127.0.0.1:{ray.port}"
    with pytest.raises(RayRefused, match="401"):
        asyncio.run(RayJobs(address, "wrong").info("x"))
    with pytest.raises(RayUnreachable):
        asyncio.run(RayJobs("http://127.0.0.1:1", TOKEN).info("x"))
    assert TOKEN not in repr(RayJobs(address, TOKEN))


def test_the_trigger_reports_and_ends_with_the_result(ray: FakeRay, connection: Connection) -> None:
    ray.jobs["j"] = ["PENDING", "BUSY", "RUNNING", "SUCCEEDED"]
    assert events(follow("j")) == [{"status": "succeeded", "result": {"model_id": "abc", "run_id": "r"}}]


def test_the_trigger_survives_being_rebuilt_from_its_serialized_state(ray: FakeRay, connection: Connection) -> None:
    ray.jobs["j"] = ["SUCCEEDED"]
    path, arguments = follow("j").serialize()
    assert path == "lambda_dl.triggers.ray_job.RayJobTrigger" and TOKEN not in json.dumps(arguments)
    assert events(RayJobTrigger(**arguments))[0]["status"] == "succeeded"


def test_a_failed_job_carries_the_tail_of_its_log(ray: FakeRay, connection: Connection) -> None:
    ray.jobs["j"], ray.logs, ray.exit_code = ["FAILED"], "one\ntwo", 1
    event = events(follow("j"))[0]
    assert (event["status"], event["tail"], event["exit_code"]) == ("failed", "one\ntwo", 1)
    with pytest.raises(TrainingFailed, match="two"):
        RayTuneSensor(task_id="f", submitter="s", limit=1).ended({}, event, "j")


def test_a_data_error_is_not_tried_again(connection: Connection) -> None:
    event = {"status": "failed", "message": "", "tail": "error: no closed days", "exit_code": 2}
    with pytest.raises(AirflowFailException, match="no closed days"):
        RayTuneSensor(task_id="f", submitter="s", limit=1).ended({}, event, "j")


def test_a_job_that_a_new_ray_does_not_know_is_missing(ray: FakeRay, connection: Connection) -> None:
    assert events(follow("unknown"))[0]["status"] == "missing"


def test_the_time_limit_stops_the_job(ray: FakeRay, connection: Connection) -> None:
    ray.jobs["j"] = ["RUNNING"]
    event = events(follow("j", seconds=-1))[0]
    assert event["status"] == "late"
    with pytest.raises(AirflowFailException, match="stopped after"):
        RayTuneSensor(task_id="f", submitter="s", limit=1).ended({}, event, "j")
    assert ray.stopped == ["j"]


def test_a_user_who_kills_the_deferred_task_stops_the_job(ray: FakeRay, connection: Connection) -> None:
    ray.jobs["j"] = ["RUNNING"]
    asyncio.run(follow("j").on_kill())
    assert ray.stopped == ["j"]


def submit(ti: FakeTi) -> dict[str, Any]:
    operator = RayTrainOperator(task_id="s", module="m", arguments={"trials": 4, "seed": "None"})
    result: dict[str, Any] = operator.execute({"ti": ti})
    return result


def test_endpoints_travel_with_the_job_and_no_secret_does(ray: FakeRay, connection: Connection) -> None:
    ti = FakeTi()
    job = submit(ti)
    assert ray.submitted[0]["runtime_env"]["env_vars"]["S3_ENDPOINT"] == "http://s3"
    assert "very-secret" not in json.dumps([job, ti.pushed, ray.submitted])
    assert job["entrypoint"] == "python -m m --trials 4"
    assert ti.pushed["ray_dashboard_url"].endswith(f"/#/jobs/{job['submission_id']}")


def test_a_retried_submission_finds_the_running_job(ray: FakeRay, connection: Connection) -> None:
    assert submit(FakeTi())["submission_id"] == submit(FakeTi(2))["submission_id"]
    assert len(ray.submitted) == 1


def test_the_sensor_follows_defers_and_restarts_only_on_a_later_try(ray: FakeRay, connection: Connection) -> None:
    job = submit(FakeTi())
    ray.jobs[job["submission_id"]] = ["STOPPED"]

    def followed(try_number: int) -> str:
        with pytest.raises(TaskDeferred) as deferred:
            RayTuneSensor(task_id="f", submitter="s", limit=60).execute({"ti": FakeTi(try_number, job)})
        return str(deferred.value.trigger.submission_id)

    assert followed(1) == job["submission_id"]
    assert followed(2) == job["submission_id"].removesuffix("1") + "2"
    assert len(ray.submitted) == 2


def test_a_killed_submission_stops_its_job(ray: FakeRay, connection: Connection) -> None:
    operator = RayTrainOperator(task_id="s", module="m", arguments={})
    operator.execute({"ti": FakeTi()})
    operator.on_kill()
    assert len(ray.stopped) == 1


def test_words_are_quoted() -> None:
    assert command("python", "m", {"run-id": "a b; c", "to": "", "n": 0}) == "python -m m --run-id 'a b; c' --n 0"


SLEEPER = """python -c "print('LAMBDA_DL_PROGRESS {}', flush=True); import time; time.sleep(600)" """


@pytest.mark.integration
def test_on_a_real_ray_a_job_outlives_its_triggerer_but_not_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    client = RayJobs(os.environ["RAY_ADDRESS"], os.environ["RAY_AUTH_TOKEN"])
    host, _, port = client.address.removeprefix("http://").partition(":")
    connection = Connection(conn_id="r", conn_type="http", host=host, port=int(port), password=client.token)

    async def aget(conn_id: str) -> Connection:
        return connection

    monkeypatch.setattr(BaseHook, "aget_connection", aget)
    base = submission_base("test", uuid.uuid4().hex)

    async def next_event(trigger: RayJobTrigger) -> dict[str, Any]:
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("no event")

    async def until(*statuses: str) -> str:
        for _ in range(300):
            info = await client.info(base + "-1")
            if info is not None and info.status in statuses:
                return info.status
            await asyncio.sleep(0.2)
        raise AssertionError(f"the job never was {statuses}")

    async def scenario() -> dict[str, Any]:
        await client.submit(base + "-1", SLEEPER, {}, {})
        first = RayJobTrigger("r", base + "-1", time.time() + 300, 0.2)
        following = asyncio.create_task(next_event(first))
        await until("RUNNING")
        following.cancel()  # what a triggerer that is shut down does
        await first.cleanup()
        assert await until("RUNNING", "STOPPED", "FAILED") == "RUNNING"
        _, arguments = first.serialize()
        second = RayJobTrigger(**arguments)
        following = asyncio.create_task(next_event(second))
        await second.on_kill()  # what clearing, failing or killing the task does
        return await asyncio.wait_for(following, 60)

    assert asyncio.run(scenario())["status"] == "stopped"
