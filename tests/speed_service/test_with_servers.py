"""The service as a process under its real server, against the real S3 and Kafka: promotion -> receipt -> prediction."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from deltalake import write_deltalake

from include.bundle.store import S3Store
from include.ledger import Entry, append
from include.locations import MODELS_BUCKET, Lake, Topics
from include.settings import S3Settings
from include.use_case import UseCase, load_use_case
from tests.speed_service.conftest import FIRST_DAY, LAST_DAY, days_between, make_bundle, some_tiles, subject

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
#: Gives the shipped use case another name, so that the test has topics, tables and a ledger of its own.
RENAMED = """
from dataclasses import replace
import include.use_case
import speed_service.app
shipped = include.use_case.load_use_case("flight_delay")
speed_service.app.load_use_case = lambda name: replace(shipped, name=name)
from speed_service.wsgi import app
"""


@dataclass
class Stack:
    """The real servers, and a use case of this test alone on them."""

    environment: dict[str, str]
    use_case: UseCase
    s3: S3Settings
    store: S3Store
    topics: Topics

    def promote(self, model_id: str, sequence: int) -> Entry:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = Entry(sequence, now, "promoted", model_id, None, "test", "test", f"run-{sequence}")
        return append(self.store, self.use_case.name, entry)

    def broadcast(self, entry: Entry) -> None:
        producer = Producer({"bootstrap.servers": self.environment["KAFKA_BOOTSTRAP"]})
        value = json.dumps({**entry.to_json(), "use_case": self.use_case.name, "bundle": "s3://models/..."})
        producer.produce(self.topics.models, key=self.use_case.name, value=value)
        assert producer.flush(30) == 0

    def publish_tiles(self) -> None:
        for day in sorted(days_between(FIRST_DAY, LAST_DAY)):
            rows = some_tiles() if day == LAST_DAY else some_tiles().slice(0, 1)
            rows = rows.append_column("run_id", pa.array(["run"] * len(rows)))
            rows = rows.append_column("ds", pa.array([day.isoformat()] * len(rows)))
            path = Lake(self.use_case.name).path("tiles", "s3")
            write_deltalake(path, rows, mode="append", partition_by=["ds"], storage_options=self.s3.delta_options())


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = dict(os.environ)
    use_case = replace(load_use_case("flight_delay"), name=f"test_speed_{uuid.uuid4().hex[:8]}")
    s3, topics = S3Settings.from_environment(environment), Topics(use_case.name)
    admin = AdminClient({"bootstrap.servers": environment["KAFKA_BOOTSTRAP"]})
    names = [topics.models, topics.metrics, topics.batch_events]
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        future.result(30)
    stack = Stack(environment, use_case, s3, S3Store(s3, MODELS_BUCKET), topics)
    yield stack
    admin.delete_topics(names)
    for bucket in (MODELS_BUCKET, "lake"):
        store = S3Store(s3, bucket)
        for key in store.keys(f"{use_case.name}/"):
            store.client.delete_object(Bucket=bucket, Key=key)


@dataclass
class Running:
    """A service process and its address."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    name: str

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.url}{path}", data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, None

    def predict(self) -> tuple[int, Any]:
        return self.call(f"/v1/{self.name}/predict", {"subjects": [subject()]})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for: {what}")


@pytest.fixture(scope="module")
def running(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service under granian, as ``local_stack`` starts it, with its own read-only keys where there are any."""
    folder, port = tmp_path_factory.mktemp("launch"), free_port()
    (folder / "renamed.py").write_text(RENAMED)
    environment = {
        **os.environ,
        **stack.environment,
        "LAMBDA_DL_USE_CASE": stack.use_case.name,
        "LAMBDA_DL_TILE_POLL_SECONDS": "1",
        "LAMBDA_DL_METRICS_SECONDS": "1",
        "PYTHONPATH": f"{ROOT}:{folder}",
    }
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*granian, "--blocking-threads", "4", "renamed:app"], env=environment, cwd=ROOT, stdout=log, stderr=log
        )
    yield Running(process, f"http://127.0.0.1:{port}", environment["PREDICTOR_TOKEN"], stack.use_case.name)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    print((folder / "log").read_text()[-4000:])


def receipts(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """Every message of a kind on the metrics topic so far."""
    consumer = Consumer({"bootstrap.servers": stack.environment["KAFKA_BOOTSTRAP"], "group.id": "test"})
    partition = TopicPartition(stack.topics.metrics, 0, 0)
    try:
        _, end = consumer.get_watermark_offsets(partition, timeout=10)
        consumer.assign([partition])
        found = consumer.consume(end, timeout=20) if end else []
        return [m for m in (json.loads(message.value() or b"{}") for message in found) if m["kind"] == kind]
    finally:
        consumer.close()


def received(stack: Stack, kind: str, model_id: str) -> list[dict[str, Any]]:
    return [message for message in receipts(stack, kind) if message["model_id"] == model_id]


def test_starts_without_a_champion(running: Running) -> None:
    until(lambda: running.call("/healthz")[0] == 200, "the process to live")
    until(lambda: "no model has been promoted" in str(running.call("/readyz")[1]), "the ledger to be read")
    assert running.call("/readyz")[0] == 503
    assert running.predict()[0] == 503


def test_a_promotion_is_received_and_answered(running: Running, stack: Stack) -> None:
    stack.publish_tiles()
    entry = stack.promote(make_bundle(stack.store, stack.use_case, 1), 1)
    stack.broadcast(entry)
    receipt = until(lambda: received(stack, "model_loaded", entry.model_id), "the receipt")[0]
    assert (receipt["sequence"], receipt["run_id"]) == (1, "run-1")
    until(lambda: running.call("/readyz")[0] == 200, "tiles")
    status, answer = running.predict()
    assert status == 200 and answer["model_id"] == entry.model_id
    assert answer["predictions"][0]["as_of"]["departures"] == "2013-01-20T14:15:00Z"
    assert answer["predictions"][0]["degraded"] is False


def test_a_broadcast_repeated_gets_its_receipt_again(stack: Stack, running: Running) -> None:
    entry = Entry(**json.loads(stack.store.get(f"{stack.use_case.name}/ledger/00000001.json")))
    stack.broadcast(entry)
    found = until(lambda: len(m := received(stack, "model_loaded", entry.model_id)) > 1 and m, "a second receipt")
    assert len({message["metric_id"] for message in found}) == 1


def test_a_bad_bundle_is_refused_and_the_next_good_one_served(running: Running, stack: Stack) -> None:
    bad = stack.promote("f" * 64, 2)
    stack.broadcast(bad)
    why = until(lambda: received(stack, "model_rejected", bad.model_id), "the refusal")[0]
    assert "no object" in why["reason"]
    assert running.predict()[0] == 200
    good = stack.promote(make_bundle(stack.store, stack.use_case, 2), 3)
    stack.broadcast(good)
    until(lambda: received(stack, "model_loaded", good.model_id), "the receipt")
    assert running.predict()[1]["model_id"] == good.model_id


def test_reports_its_meters_on_kafka(running: Running, stack: Stack) -> None:
    messages = until(lambda: receipts(stack, "runtime"), "runtime metrics")
    assert {"predict_seconds_count", "tiles_rows"} <= {message["name"] for message in messages}
