"""The batch path on executors of their own and three brokers: a worker and a broker killed midway change nothing.

Runs on a stack of profile ``spark-kafka``: ``make drills PROFILE=spark-kafka``.
"""

import json
import os
import platform
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from confluent_kafka.admin import AdminClient

from include.landing import s3_client
from include.locations import LAKE_BUCKET, Topics
from include.metrics import consume
from include.settings import KafkaSettings
from local_stack.stack import Stack
from tests.profiles import speed_layer
from tests.profiles.conftest import healed, stack_of, until
from tests.recovery.content import content, shown
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import FIRST, Workshop, feed, spark_process, topics_for

pytestmark = pytest.mark.drill

LAST = FIRST + timedelta(days=1)
BIG = [f"{kind}_{c.name}" for c in steps.BASE.sources for kind in ("raw", "quarantine")] + [
    "tiles",
    "features",
    "labels",
]
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Worlds:
    """Two use cases of this run, over the same days: one is left in peace."""

    stack: Stack
    workshop: Workshop
    calm: str
    broken: str


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    stack, mark = stack_of("spark-kafka"), uuid.uuid4().hex[:8]
    names = [f"test_{what}_{mark}" for what in ("calm", "broken")]
    with topics_for(names), spark_process(names) as pool:
        workshop = Workshop(pool, days=names[0], window=names[1], odd="")
        for name in names:
            feed(name, LAST)
        yield Worlds(stack, workshop, *names)


def seen_by_executors() -> list[str]:
    """Step: what the Pythons on the executors know of themselves, as JSON."""

    def look(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import include.tiles.kernel

        known = {
            "code": include.tiles.kernel.__file__,
            "folder": str(Path.cwd()),
            "python": platform.python_version(),
            "environment": sorted(os.environ),
            "path": os.environ.get("PYTHONPATH", ""),
        }
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"text": [json.dumps(known)] * batch.num_rows})

    frame = steps.session().range(0, 1000, numPartitions=8).mapInArrow(look, "text string")
    return [row["text"] for row in frame.distinct().collect()]


def test_executors_have_nothing_but_what_their_driver_sends(worlds: Worlds) -> None:
    found = [json.loads(text) for text in worlds.workshop.do(seen_by_executors)]
    assert {one["python"] for one in found} == {platform.python_version()}
    for one in found:
        assert one["code"].endswith("lambda_dl_code.zip/include/tiles/kernel.py")
        assert not one["code"].startswith(f"{ROOT}/include")
        assert f"{ROOT}:" not in one["path"] + ":"
        known = ("S3_", "AWS_", "KAFKA_", "MYSQL_", "METASTORE_", "LAMBDA_DL_")
        assert not [name for name in one["environment"] if name.startswith(known)]
    assert len({one["folder"].split("/spark-worker-")[1][0] for one in found}) == 2


def workers(stack: Stack) -> dict[int, dict[str, Any]]:
    """The living workers by port, as the master knows them."""
    answer = requests.get(f"{stack.ports.url('spark-master-page')}/json/", timeout=10).json()
    return {worker["port"]: worker for worker in answer["workers"] if worker["state"] == "ALIVE"}


def leader(stack: Stack, topic: str) -> str:
    """The server that leads a topic's only partition."""
    found = AdminClient({"bootstrap.servers": KafkaSettings.from_environment().bootstrap}).list_topics(
        topic, timeout=20
    )
    (partition,) = found.topics[topic].partitions.values()
    return stack.profile.brokers[partition.leader - 1]


def committed(name: str, table: str) -> bool:
    """Whether the table has a commit after the one that made it."""
    key = f"{name}/{table}/_delta_log/{1:020d}.json"
    return bool(s3_client().list_objects_v2(Bucket=LAKE_BUCKET, Prefix=key)["KeyCount"])


def announced(name: str) -> set[tuple[str, int]]:
    """The days that were announced, with their rows; a task that ran twice may have said so twice."""
    read = consume(KafkaSettings.from_environment(), Topics(name).batch_events)
    messages = [json.loads(value or b"") for _, _, value in read]
    return {(message["ds"], message["rows"]) for message in messages}


def kill_midway(running: "Future[Any]", reached: Callable[[], bool], what: str, kill: Callable[[], None]) -> None:
    """Kill as soon as the job has come so far, and while it still runs."""
    until(lambda: running.done() or reached(), what)
    assert not running.done(), f"the job ended before {what}: {running.exception()}"
    kill()


def test_a_worker_and_a_broker_killed_midway_change_no_table(worlds: Worlds) -> None:
    do, calm, broken, stack = worlds.workshop.do, worlds.calm, worlds.broken, worlds.stack
    do(steps.ingest_and_preprocess, calm, FIRST, LAST, "run")
    do(steps.refresh, calm, "run")
    in_mysql = shown()
    port = stack.ports["spark-worker-1"]
    before = workers(stack)[port]
    assert before["coresused"] == 1
    with healed(stack) as kill:
        running = worlds.workshop.pool.submit(steps.ingest_and_preprocess, broken, FIRST, LAST, "run")
        first = f"{broken}'s first facts"
        kill_midway(running, lambda: committed(broken, "raw_departures"), first, lambda: kill("spark-worker-1"))
        away = leader(stack, Topics(broken).batch_events)
        kill_midway(running, lambda: committed(broken, "tiles"), f"{broken}'s tiles", lambda: kill(away))
        running.result()
        do(steps.refresh, broken, "run")
    assert until(lambda: workers(stack)[port], "the worker's return")["id"] != before["id"]
    for table in (*BIG, "book", "landing_files"):
        assert content(broken, table) == content(calm, table), table
    assert len(content(calm, "features")) > 100
    assert announced(broken) == announced(calm) != set()
    assert shown() == in_mysql


def test_brokers_killed_in_a_replay_change_no_answer(worlds: Worlds) -> None:
    do = worlds.workshop.do
    day = speed_layer.prepare(do)
    speed_layer.replay(day, ["kafka@08:00", "kafka-3@18:00"])
    assert speed_layer.judge(do, day)["parity"] == 1.0
