"""The streaming job and the predictor played by a thread, on a use case with topics of its own on the real broker."""

import json
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from include.contracts.validator import Valid, validate
from include.locations import Topics
from include.streaming import messages
from include.streaming.messages import HEARTBEAT_FIELD, Progress, TileUpdate, encode
from include.use_case import UseCase, load_use_case
from local_stack.replay.books import counting_tiles, query_identity
from local_stack.replay.topics import make_consumer
from tests.kafka_topics import make_topics

SHIPPED = load_use_case("flight_delay")


@dataclass
class StandIn:
    """Counts facts and answers queries in a thread; ``loses`` are ids that it forgets to count or to answer."""

    use_case: UseCase
    bootstrap: str
    loses: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    tiles: dict[tuple[str, str], int] = field(default_factory=dict)
    answered: set[Any] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.topics = Topics(self.use_case.name)
        self.kinds = counting_tiles(self.use_case)
        self.producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})

    def run(self) -> None:
        consumer = make_consumer(self.bootstrap)
        names = [self.topics.facts(contract.name) for contract in self.use_case.sources]
        consumer.assign([TopicPartition(name, 0, 0) for name in (*names, self.topics.queries)])
        while not self.stop.is_set():
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            suffix, value = str(message.topic()).rpartition(".")[2], message.value() or b""
            self.answer(value) if suffix == "queries" else self.count(suffix, value)
            self.producer.flush()
        consumer.close()

    def tell(self, topic: str, key: str, value: Any) -> None:
        content = json.dumps(value).encode() if isinstance(value, dict) else encode(value)
        self.producer.produce(topic, key=key.encode(), value=content)

    def reject(self, identity: str | None, source: str, kind: str, value: bytes) -> None:
        said = messages.rejection(identity, source, kind, ("id: why",), value.decode(), "2026-11-24T00:00:00.000Z")
        self.tell(self.topics.rejected, identity or "", said)

    def count(self, source: str, value: bytes) -> None:
        record = parsed(value)
        if record.get(HEARTBEAT_FIELD):
            self.closed[source] = record[HEARTBEAT_FIELD]
            progress = Progress(source, *[record[HEARTBEAT_FIELD]] * 3)
            self.tell(self.topics.tiles, progress.message_key, progress)
            return
        judged = validate(record, self.use_case.source(source))
        if not isinstance(judged, Valid):
            self.reject(record.get("id"), source, messages.INVALID, value)
            return
        identity = str(judged.values["id"])
        if identity in self.seen.setdefault(source, set()) or identity in self.loses:
            return
        self.seen[source].add(identity)
        minute = f"{judged.moment:%Y-%m-%dT%H:%M:00Z}"
        if minute < self.closed[source]:
            self.reject(identity, source, messages.LATE, value)
            return
        self.counts[source] = self.counts.get(source, 0) + 1
        name = f'stream_facts_total{{outcome="counted",source="{source}"}}'
        self.tell(self.topics.metrics, name, {"kind": "runtime", "name": name, "value": float(self.counts[source])})
        if source in self.kinds:
            at = (str(judged.values["origin"]), minute)
            self.tiles[source, *at] = self.tiles.get((source, *at), 0) + 1
            update = TileUpdate(self.kinds[source].name, *at, [self.tiles[source, *at], 0, 0, 0])
            self.tell(self.topics.tiles, update.message_key, update)

    def answer(self, value: bytes) -> None:
        identity = query_identity(parsed(value), self.use_case)
        if identity is None:
            self.reject(parsed(value).get("id"), "queries", messages.INVALID, value)
        elif identity not in self.answered and identity[0] not in self.loses:
            self.answered.add(identity)
            answer = {"prediction_time": f"{identity[1]:%Y-%m-%dT%H:%M:%SZ}", "probability": len(identity[0]) / 40}
            self.tell(self.topics.predictions, identity[0], {"id": identity[0], "via": "kafka", **answer})


def parsed(value: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(value)
    except ValueError:
        return {}
    return record


@pytest.fixture
def use_case() -> Iterator[UseCase]:
    """The shipped one under a name of its own, with its topics."""
    renamed = replace(SHIPPED, name=f"test_replay_{uuid.uuid4().hex[:8]}")
    topics = Topics(renamed.name)
    names = [topics.facts(contract.name) for contract in renamed.sources]
    names += [topics.queries, topics.predictions, topics.rejected, topics.tiles, topics.metrics]
    admin = make_topics(os.environ["KAFKA_BOOTSTRAP"], [NewTopic(name, 1, 1) for name in names])
    yield renamed
    admin.delete_topics(names)


@pytest.fixture
def stand_in(use_case: UseCase) -> Iterator[StandIn]:
    player = StandIn(use_case, os.environ["KAFKA_BOOTSTRAP"])
    thread = threading.Thread(target=player.run, daemon=True)
    thread.start()
    yield player
    player.stop.set()
    thread.join(20)
