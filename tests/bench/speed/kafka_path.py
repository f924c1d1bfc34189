"""Kafka to Kafka: queries topic -> Spark -> prepared queries -> our service -> predictions topic, on a running stack.

Spark in Real-Time Mode, then the same query in micro-batches; each with topics, tables and checkpoints of its own that
are removed afterwards. Open loop: a query is sent when its time has come, whether or not earlier ones are answered,
and its latency counts from that time. Addresses come from the environment (``.local/conf/process.env``).
"""

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from deltalake import write_deltalake

from include.bundle.store import S3Store
from include.landing import object_sizes, s3_client
from include.ledger import append
from include.locations import LAKE_BUCKET, LANDING_BUCKET, MODELS_BUCKET, Lake, Topics, reference_key
from include.settings import KafkaSettings, S3Settings
from include.use_case import UseCase
from local_stack.layout import REPO_ROOT, layout_from
from local_stack.servers import predictor
from local_stack.servers import stream as stream_server
from local_stack.spark_conf import write_conf
from local_stack.stack import open_stack
from tests.bench.speed.load import quantile
from tests.bench.speed.material import Material, promotion, reference_bytes, write_network
from tests.bench.speed.servers import HERE, TOKEN, Place, stop

RATE = 500
#: Longer than one run of Real-Time Mode (``stream.REALTIME_BATCH``), at whose end queries wait for a checkpoint.
STEADY_SECONDS = 310.0
STEP = 250
HIGHEST = 6000
START_SECONDS = 240.0
DRAIN_SECONDS = 15.0
#: A lag is flat while latency grows by less than this share of the time that passes: 100 ms a second.
GROWTH = 0.1
MODES = ("realtime", "microbatch")
SERVICE_PORT = 8


@dataclass(frozen=True)
class Flow:
    """What one rate came to; latencies in milliseconds from the time that a query was due."""

    rate: int
    seconds: float
    sent: int
    answered: int
    twice: int
    degraded: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    kept_pace: bool
    grows: bool

    @property
    def flat(self) -> bool:
        """Whether the lag stayed flat at this very rate, and nothing was lost."""
        return self.kept_pace and not self.grows and self.answered == self.sent

    @property
    def verdict(self) -> str:
        """What ended the climb here, empty if nothing did."""
        if self.answered < self.sent:
            return ", answers missing"
        return ", lag grows" if self.grows else "" if self.kept_pace else ", the sender fell behind"


@dataclass(frozen=True)
class KafkaFigures:
    """One mode: the flow at ``RATE``, and the steps up to the first whose lag grew."""

    mode: str
    steady: Flow
    steps: list[Flow]

    @property
    def highest_flat(self) -> int:
        """The highest rate whose lag stayed flat, 0 if none did."""
        return max((flow.rate for flow in (self.steady, *self.steps) if flow.flat), default=0)


def measure_kafka(
    place: Place, material: Material, use_case: UseCase, seconds: float, steady_seconds: float
) -> list[KafkaFigures]:
    """Both modes, one after the other: the steady flow, then steps of twice ``seconds``.

    Micro-batches write a checkpoint each, so a shorter steady flow shows what they are like.
    """
    shorter = min(steady_seconds, 14 * seconds)
    lengths = (steady_seconds, shorter)
    return [
        measure_mode(place, material, use_case, mode, seconds, length)
        for mode, length in zip(MODES, lengths, strict=True)
    ]


def measure_mode(
    place: Place, material: Material, use_case: UseCase, mode: str, seconds: float, steady_seconds: float
) -> KafkaFigures:
    """Everything of one mode, and no trace of it afterwards."""
    named = replace(use_case, name=f"bench_speed_{uuid.uuid4().hex[:8]}")
    with (
        prepared_world(material, named),
        stream_job(place, named, mode) as stream,
        service(place, named) as ours,
        Line(named, material) as line,
    ):
        line.wait_for_first_answer(stream, ours)
        line.run(100, 5.0)  # the JVM compiles what it has seen often
        line.run(RATE, 10.0)
        steady = line.run(RATE, steady_seconds)
        print(f"  {mode}: {steady}", flush=True)
        return KafkaFigures(mode, steady, list(climb(line, max(4.0, 2 * seconds))))


def climb(line: "Line", seconds: float) -> Iterator[Flow]:
    """Step up until the lag grows."""
    for rate in range(RATE + STEP, HIGHEST + 1, STEP):
        flow = line.run(rate, seconds)
        print(f"    {flow}", flush=True)
        yield flow
        if not flow.flat:
            return


@contextmanager
def prepared_world(material: Material, use_case: UseCase) -> Iterator[None]:
    """Topics, references, published tiles and a promoted bundle; all removed at the end."""
    client, s3, topics = s3_client(), S3Settings.from_environment(), Topics(use_case.name)
    names = [topics.facts(source.name) for source in use_case.sources]
    names += [topics.queries, topics.prepared_queries, topics.predictions, topics.rejected, topics.tiles]
    names += [topics.models, topics.metrics, topics.batch_events]
    admin = AdminClient({"bootstrap.servers": KafkaSettings.from_environment().bootstrap})
    for created in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        created.result(30)
    try:
        for name, content in reference_bytes().items():
            client.put_object(Bucket=LANDING_BUCKET, Key=reference_key(use_case.name, name), Body=content)
        publish_tiles(material, use_case, s3)
        promote(material, use_case, S3Store(s3, MODELS_BUCKET))
        yield
    finally:
        for deleted in admin.delete_topics(names).values():
            deleted.result(30)
        for bucket in (LANDING_BUCKET, LAKE_BUCKET, MODELS_BUCKET):
            for key in object_sizes(client, bucket, f"{use_case.name}/"):
                client.delete_object(Bucket=bucket, Key=key)


def publish_tiles(material: Material, use_case: UseCase, s3: S3Settings) -> None:
    """The material's tiles as the batch layer's table."""
    rows = pyarrow.parquet.read_table(material.folder / "tiles.parquet")
    rows = rows.append_column("ds", pc.strftime(rows["minute"], format="%Y-%m-%d").cast(pa.string()))
    path = Lake(use_case.name).path("tiles", "s3")
    write_deltalake(path, rows, partition_by=["ds"], storage_options=s3.delta_options())


def promote(material: Material, use_case: UseCase, store: S3Store) -> None:
    """The material's first network as a bundle under this name, and as the ledger's first line."""
    model_id = write_network(store, use_case, material.fitted, reference_bytes(), 1)
    append(store, use_case.name, promotion(1, model_id))


@contextmanager
def stream_job(place: Place, use_case: UseCase, mode: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The streaming job as the stack starts it, in one of its modes."""
    stack, folder = open_stack(layout_from()), place.folder / f"stream-{use_case.name}"
    if not (stack.layout.conf / "spark" / "spark-defaults.conf").is_file():
        write_conf(stack)
    command = list(stream_server._command(stack, use_case.name))
    script = next(number for number, word in enumerate(command) if word.endswith("stream.py"))
    command[script:] = [str(HERE / "renamed_stream.py"), "--use-case", use_case.name]
    folder.mkdir(parents=True)
    env = {**os.environ, "LAMBDA_DL_CHECKPOINTS": str(folder), "LAMBDA_DL_QUERIES_TRIGGER": mode}
    try:
        with started(place, command, {**env, "PYTHONPATH": str(REPO_ROOT)}, f"stream-{mode}") as process:
            yield process
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(place: Place, use_case: UseCase) -> Iterator["subprocess.Popen[bytes]"]:
    """Our service as the stack starts it, with all its threads."""
    command = list(predictor._command(open_stack(layout_from()), "predictor"))
    command += ["--app", "tests.bench.speed.renamed_service:app"]
    command[command.index("--port") + 1] = str(place.base + SERVICE_PORT)
    env = {**os.environ, "LAMBDA_DL_USE_CASE": use_case.name, "PREDICTOR_TOKEN": TOKEN, "PYTHONPATH": str(REPO_ROOT)}
    with started(place, command, env, "service-kafka") as process:
        yield process


@contextmanager
def started(
    place: Place, command: Sequence[str], env: dict[str, str], name: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with a log, ended with all its children. It runs wherever the kernel puts it."""
    log = place.folder / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=REPO_ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        stop(process)


@dataclass
class Sent:
    """The queries of one rate: when each was due, and when its answer came (monotonic seconds)."""

    due: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    twice: int = 0
    degraded: int = 0


class Line:
    """Sends queries and takes their answers, in two threads of this process."""

    def __init__(self, use_case: UseCase, material: Material) -> None:
        bootstrap = KafkaSettings.from_environment().bootstrap
        self._topics = Topics(use_case.name)
        self._key = use_case.subject.key
        self._subjects = material.subjects
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{use_case.name}.bench",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 5,
            }
        )
        self._stop = threading.Event()
        self._current = Sent()
        self._number = 0
        self._thread = threading.Thread(target=self._take, daemon=True)

    def __enter__(self) -> "Line":
        self._consumer.subscribe([self._topics.predictions])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _take(self) -> None:
        while not self._stop.is_set():
            messages = self._consumer.consume(500, timeout=0.002)
            now = time.monotonic()
            for message in messages:
                if message.error() is None:
                    self._note(bytes(message.key() or b"").decode(), bytes(message.value() or b""), now)

    def _note(self, identity: str, value: bytes, now: float) -> None:
        current = self._current
        if identity not in current.due:
            return
        if identity in current.answered:
            current.twice += 1
        else:
            current.answered[identity] = now
            current.degraded += b'"degraded":true' in value

    def send(self, due: float) -> None:
        """One query that was due at ``due`` (monotonic seconds)."""
        subject: dict[str, Any] = {**self._subjects[self._number % len(self._subjects)], self._key: f"q{self._number}"}
        self._number += 1
        identity = subject[self._key]
        self._current.due[identity] = due
        self._producer.produce(self._topics.queries, json.dumps(subject), identity)
        self._producer.poll(0)

    def wait_for_first_answer(self, *processes: "subprocess.Popen[bytes]") -> None:
        """Ask once a second until something comes back; raises when a server ends or the time is over."""
        deadline, self._current = time.monotonic() + START_SECONDS, Sent()
        while not self._current.answered:
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                raise RuntimeError("no prediction comes out; see the logs of stream and service-kafka")
            self.send(time.monotonic())
            time.sleep(1.0)

    def run(self, rate: int, seconds: float) -> Flow:
        """Send at ``rate`` for ``seconds``, then wait for the rest of the answers as long as they come."""
        current = self._current = Sent()
        start, count = time.monotonic() + 0.1, int(rate * seconds)
        for number in range(count):
            due = start + number / rate
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self.send(due)
        took = time.monotonic() - start
        self._producer.flush(10)
        self._drain(current)
        return flow_of(rate, seconds, current, took < seconds * 1.02 + 0.2)

    def _drain(self, current: Sent) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while len(current.answered) < len(current.due) and time.monotonic() < deadline:
            time.sleep(0.05)


def flow_of(rate: int, seconds: float, sent: Sent, kept_pace: bool) -> Flow:
    """The figures of one rate; ``kept_pace``: whether the sender itself did."""
    in_order = [
        (sent.answered[identity] - due) * 1000 for identity, due in sent.due.items() if identity in sent.answered
    ]
    median, most, worst = (quantile(sorted(in_order), share) for share in (0.5, 0.99, 1.0))
    up = grows(in_order, seconds)
    counts = len(sent.due), len(sent.answered), sent.twice, sent.degraded
    return Flow(rate, seconds, *counts, median, most, worst, kept_pace, up)


def grows(latencies_ms: Sequence[float], seconds: float) -> bool:
    """Whether latencies, in the order of sending, rise from the second to the last quarter: more comes than goes."""
    quarter = len(latencies_ms) // 4
    if not quarter:
        return False
    early, late = median(latencies_ms[quarter : 2 * quarter]), median(latencies_ms[3 * quarter :])
    return late - early > GROWTH * 1000 * seconds / 2
