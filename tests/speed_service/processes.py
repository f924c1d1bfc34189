"""The service as processes under its real server, beside the real S3 and Kafka, for a use case of one test alone."""

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic
from deltalake import write_deltalake

from include.bundle.store import S3Store
from include.ledger import Entry, append
from include.locations import LAKE_BUCKET, LANDING_BUCKET, MODELS_BUCKET, Lake, Topics
from include.settings import S3Settings
from include.use_case import UseCase, load_use_case
from tests.kafka_topics import make_topics
from tests.speed_service.conftest import FIRST_DAY, LAST_DAY, days_between, some_tiles, subject

ROOT = Path(__file__).resolve().parents[2]
#: Gives a use case another name, so that the test has topics, tables and a ledger of its own.
RENAMED = """
from dataclasses import replace
import include.use_case
import speed_service.app
shipped = include.use_case.load_use_case("{base}")
speed_service.app.load_use_case = lambda name: replace(shipped, name=name)
from speed_service.asgi import app
"""


@dataclass
class Stack:
    """The real servers, and a use case of this test alone on them."""

    environment: dict[str, str]
    use_case: UseCase
    s3: S3Settings
    store: S3Store
    topics: Topics
    #: The package whose use case it is, by another name.
    base: str = "flight_delay"

    @property
    def bootstrap(self) -> str:
        return self.environment["KAFKA_BOOTSTRAP"]

    def promote(self, model_id: str, sequence: int) -> Entry:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = Entry(sequence, now, "promoted", model_id, None, "test", "test", f"run-{sequence}")
        return append(self.store, self.use_case.name, entry)

    def broadcast(self, entry: Entry) -> None:
        value = json.dumps({**entry.to_json(), "use_case": self.use_case.name, "bundle": "s3://models/..."})
        self.send(self.topics.models, [(self.use_case.name.encode(), value.encode())])

    def send(self, topic: str, messages: list[tuple[bytes, bytes]], time_ms: int = 0) -> None:
        """Send messages (key, value), with a timestamp of their own if it is not 0."""
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for key, value in messages:
            producer.produce(topic, key=key, value=value, timestamp=time_ms)
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[Any]:
        """Every message on a topic so far, decoded, in order per partition."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False})
        try:
            found: list[Any] = []
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                place = TopicPartition(topic, partition, 0)
                _, end = consumer.get_watermark_offsets(place, timeout=10)
                consumer.assign([place])
                values = consumer.consume(end, timeout=20) if end else []
                found += [json.loads(message.value() or b"null") for message in values]
            return found
        finally:
            consumer.close()

    def publish_tiles(self) -> None:
        for day in sorted(days_between(FIRST_DAY, LAST_DAY)):
            rows = some_tiles() if day == LAST_DAY else some_tiles().slice(0, 1)
            rows = rows.append_column("run_id", pa.array(["run"] * len(rows)))
            rows = rows.append_column("ds", pa.array([day.isoformat()] * len(rows)))
            path = Lake(self.use_case.name).path("tiles", "s3")
            write_deltalake(path, rows, mode="append", partition_by=["ds"], storage_options=self.s3.delta_options())


@contextmanager
def stack_of(topics: Mapping[str, int], base: str = "flight_delay") -> Iterator[Stack]:
    """A use case with these topics (last part of the name -> partitions); removed again with all that it left."""
    environment = dict(os.environ)
    use_case = replace(load_use_case(base), name=f"test_speed_{uuid.uuid4().hex[:8]}")
    s3 = S3Settings.from_environment(environment)
    names = {f"{use_case.name}.{name}": partitions for name, partitions in topics.items()}
    created = [
        NewTopic(name, partitions, 1, config={"cleanup.policy": "compact"} if name.endswith("tiles") else {})
        for name, partitions in names.items()
    ]
    admin = make_topics(environment["KAFKA_BOOTSTRAP"], created)
    try:
        yield Stack(environment, use_case, s3, S3Store(s3, MODELS_BUCKET), Topics(use_case.name), base)
    finally:
        admin.delete_topics(list(names))
        for bucket in (MODELS_BUCKET, LAKE_BUCKET, LANDING_BUCKET):
            store = S3Store(s3, bucket)
            for key in store.keys(f"{use_case.name}/"):
                store.client.delete_object(Bucket=bucket, Key=key)


@dataclass
class Running:
    """A service (the server and its worker, one process group) and its address."""

    process: subprocess.Popen[bytes]
    url: str
    token: str
    name: str
    log: Path

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        request = urllib.request.Request(f"{self.url}{path}", data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                content = response.read()
                is_json = "json" in response.headers.get("Content-Type", "")
                return response.status, json.loads(content) if is_json else content.decode()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, None

    def predict(self, **changes: Any) -> tuple[int, Any]:
        return self.call(f"/v1/{self.name}/predict", {"subjects": [subject(**changes)]})

    def ready(self) -> bool:
        return self.call("/readyz")[0] == 200

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End server and worker; with SIGKILL neither has a moment to clear up."""
        if self.process.poll() is None:
            if how == signal.SIGKILL:
                os.killpg(self.process.pid, how)
            else:
                self.process.send_signal(how)
        self.process.wait(30)
        print(self.log.read_text()[-4000:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_service(stack: Stack, folder: Path, **settings: str) -> Running:
    """The service, as ``local_stack`` starts it; its log is in ``folder``, which is made."""
    folder.mkdir()
    (folder / "renamed.py").write_text(RENAMED.format(base=stack.base))
    port, log = free_port(), folder / "log"
    environment = {
        **os.environ,
        **stack.environment,
        "LAMBDA_DL_USE_CASE": stack.use_case.name,
        "LAMBDA_DL_TILE_POLL_SECONDS": "1",
        "LAMBDA_DL_METRICS_SECONDS": "1",
        "PYTHONPATH": f"{ROOT}:{folder}",
        **settings,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "speed_service", "--port", str(port), "--app", "renamed:app"],
            **{"env": environment, "cwd": ROOT, "stdout": output, "stderr": output, "start_new_session": True},
        )
    return Running(process, f"http://127.0.0.1:{port}", environment["PREDICTOR_TOKEN"], stack.use_case.name, log)


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for: {what}")
