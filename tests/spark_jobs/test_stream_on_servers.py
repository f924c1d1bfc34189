"""The streaming job on the real Kafka: facts counted once and queries prepared, across a ``kill -9`` in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from include.landing import object_sizes, s3_client
from include.landing_writer import put_once
from include.locations import LANDING_BUCKET, Topics
from include.metrics import consume
from include.settings import KafkaSettings
from include.streaming.messages import Progress, TileUpdate, decode_tiles_message, minute_of
from include.use_cases.flight_delay import feeder
from tests.spark_jobs import steps
from tests.spark_jobs.test_count_facts import departure, observation
from tests.speed_service.conftest import subject

pytestmark = pytest.mark.drill

ROOT = Path(__file__).parents[2]
#: The job under a use-case name of this test.
JOB = """
import sys
from dataclasses import replace
from include.spark_jobs import stream
from include.use_case import load_use_case
stream.load_use_case = lambda name: replace(load_use_case("flight_delay"), name=name)
stream.main(sys.argv[1:])
"""
FACTS = 400


@dataclass
class Job:
    """The streaming job as a process of its own, which can be killed and started again."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    producer: Producer = field(
        default_factory=lambda: Producer({"bootstrap.servers": KafkaSettings.from_environment().bootstrap})
    )

    def start(self) -> None:
        environment = {
            **os.environ,
            "LAMBDA_DL_CHECKPOINTS": str(self.folder / "checkpoints"),
            "SPARK_MASTER": "local[8]",
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", JOB, "--use-case", self.name],
                env=environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End the driver and its JVM at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def send(self, topic: str, *values: Any) -> None:
        for value in values:
            self.producer.produce(f"{self.name}.{topic}", json.dumps(value))
        assert self.producer.flush(30) == 0

    def read(self, topic: str) -> list[bytes]:
        messages = consume(KafkaSettings.from_environment(), topic)
        return [value for _, _, value in messages if value is not None]

    def progress(self, source: str) -> int:
        found = [decode_tiles_message(value) for value in self.read(Topics(self.name).tiles)]
        return max((minute_of(m.border) for m in found if isinstance(m, Progress) and m.source == source), default=0)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is None or self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            found = condition()
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"waited {seconds} s for {what}; log: {(self.folder / 'log').read_text()[-3000:]}")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    name = f"test_stream_{uuid.uuid4().hex[:8]}"
    topics = Topics(name)
    names = [*(topics.facts(c.name) for c in steps.BASE.sources), topics.queries, topics.prepared_queries]
    names += [topics.tiles, topics.rejected, topics.metrics]
    admin = AdminClient({"bootstrap.servers": KafkaSettings.from_environment().bootstrap})
    for created in admin.create_topics([NewTopic(topic, 1, 1) for topic in names]).values():
        created.result(30)
    client = s3_client()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeder, "USE_CASE", name)
        for key, content in feeder.reference_files(feeder.upstream.data_folder()).items():
            put_once(client, key, content)
    running = Job(name, tmp_path_factory.mktemp("stream"))
    running.start()
    yield running
    running.kill()
    admin.delete_topics(names)
    for key in object_sizes(client, LANDING_BUCKET, f"{name}/"):
        client.delete_object(Bucket=LANDING_BUCKET, Key=key)


def facts() -> list[dict[str, Any]]:
    """Departures of forty minutes, one in ten sent twice."""
    once = [departure(n, n // 10) for n in range(FACTS)]
    return [fact for n, fact in enumerate(once) for fact in ([fact, fact] if n % 10 == 3 else [fact])]


def test_facts_are_counted_once_across_a_kill(job: Job) -> None:
    sent = facts()
    job.send("departures", {"complete_through": "2013-02-04T09:00:00Z"}, *sent[:200])
    job.send("weather", observation(1, -1))
    job.until(lambda: job.progress("weather"), "the first progress")
    job.send("departures", *sent[200:300])
    job.kill()
    job.send("departures", *sent[300:], {"complete_through": "2013-02-04T11:00:00Z"})
    job.start()
    job.send("departures", departure(5000, 3), "no fact")  # late, and wrong
    job.until(lambda: job.progress("departures") >= minute_of("2013-02-04T11:00:00Z"), "the progress after the kill")
    counts = job.until(lambda: all_counted(job, len(sent) + 2), "the counts")
    assert counts == {"counted": FACTS, "duplicate": len(sent) - FACTS, "late": 1, "rejected": 1}
    assert tiles_count(job) == FACTS
    told = [json.loads(value) for value in job.read(Topics(job.name).rejected)]
    assert {(item["source"], item["type"].rpartition(":")[2], item["id"]) for item in told} == {
        ("departures", "late-fact", "f5000"),
        ("departures", "invalid-request", None),
    }


def all_counted(job: Job, messages: int) -> dict[str, int] | None:
    """The newest totals of departures by outcome, once they cover every message."""
    totals: dict[str, int] = {}
    for value in job.read(Topics(job.name).metrics):
        message = json.loads(value)
        if 'source="departures"' in message["name"]:
            totals[message["name"].split('"')[1]] = int(message["value"])
    return totals if sum(totals.values()) == messages else None


def tiles_count(job: Job) -> int:
    """How many departures the newest tiles by origin hold."""
    newest: dict[tuple[str, str], int] = {}
    for value in job.read(Topics(job.name).tiles):
        message = decode_tiles_message(value)
        if isinstance(message, TileUpdate) and message.tile == "departures_by_origin":
            newest[message.key, message.minute] = message.values[0] or 0
    return sum(newest.values())


def test_queries_are_prepared_or_answered_with_a_reason(job: Job) -> None:
    asked = [subject(id=f"q{n}") for n in range(50)]
    job.send("queries", *asked[:30], subject(id="bad", distance=-1), "nope", *asked[30:])
    prepared = job.until(lambda: len(v := job.read(Topics(job.name).prepared_queries)) >= 50 and v, "prepared queries")
    found = [json.loads(value) for value in prepared]
    assert Counter(q["subject"]["id"] for q in found).keys() == {q["id"] for q in asked}
    assert all(q["subject"]["prediction_time"] == "2013-01-20T14:15:00Z" for q in found)
    assert all(q["references"]["airports_alt"] == 97.0 and q["references"]["planes_year"] is None for q in found)
    rejected = [json.loads(value) for value in job.read(Topics(job.name).rejected)]
    assert {item["id"] for item in rejected if item["source"] == "queries"} == {"bad", None}
