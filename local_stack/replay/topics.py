"""Kafka for a replay: a sender that loses nothing in silence, a thread that follows one topic, a topic read back.

Broker deaths are sat out: messages wait in a bounded buffer and are tried again for minutes. Nothing is committed, so
a replay depends on nobody's position. Knows neither what messages mean nor when they are due.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0
METADATA_SECONDS = 20.0
POLL_SECONDS = 0.2
BATCH = 2000
CONNECTION = {"reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 2000, "log_level": 0}
#: Partition -> offset.
Offsets = Mapping[int, int]


class MessagesLost(RuntimeError):
    """Kafka did not take every message in time; the message says how many, which is the first, and why."""


class Sender:
    """An idempotent producer, every message acknowledged by all replicas. Not shared between threads."""

    def __init__(self, bootstrap: str) -> None:
        self.sent = 0
        self._acknowledged = 0
        self._failures: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "message.timeout.ms": int(PATIENCE_SECONDS * 1000),
                "queue.buffering.max.messages": 20_000,
                **CONNECTION,
            },
            logger=log,
        )

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Queue one message; waits while the buffer is full."""
        self.sent += 1
        while True:
            try:
                self._producer.produce(topic, key=key.encode(), value=value, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(POLL_SECONDS)
        self._producer.poll(0)

    def settle(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until everything sent so far was acknowledged; raises ``MessagesLost`` if that does not come about."""
        open_messages = self._producer.flush(seconds)
        if open_messages or self._failures or self._acknowledged != self.sent:
            first = self._failures[0] if self._failures else f"no answer within {seconds:.0f} s"
            raise MessagesLost(f"{self.sent - self._acknowledged} of {self.sent} messages were not taken: {first}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._acknowledged += 1
        else:
            self._failures.append(f"{message.topic()} {message.key()!r}: {error.str()}")


def make_consumer(bootstrap: str) -> Consumer:
    """A consumer that is assigned its partitions and commits nothing."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "replay-commits-nothing",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            **CONNECTION,
        },
        logger=log,
    )


def _patiently(call: Callable[[], Any], what: str) -> Any:
    """The answer of a broker that may be starting again."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except KafkaException as error:
            fault = error.args[0]
            if time.monotonic() > end or fault.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            log.warning("%s: %s; trying again", what, fault.str())
            time.sleep(POLL_SECONDS)


def span_of(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Partition -> (first offset, offset after the last message) of a topic now; raises if there is no such topic."""

    def ask() -> dict[int, tuple[int, int]]:
        found = consumer.list_topics(topic, timeout=METADATA_SECONDS).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=METADATA_SECONDS)
            for number in found.partitions
        }

    answer: dict[int, tuple[int, int]] = _patiently(ask, topic)
    return answer


def ends_of(bootstrap: str, topics: Iterable[str]) -> dict[str, dict[int, int]]:
    """Where each topic ends now: topic -> partition -> the offset that the next message will get."""
    consumer = make_consumer(bootstrap)
    try:
        return {topic: {n: end for n, (_, end) in span_of(consumer, topic).items()} for topic in topics}
    finally:
        consumer.close()


@dataclass(frozen=True, slots=True)
class Read:
    """A message read back. ``time`` is Kafka's, in milliseconds since 1970."""

    partition: int
    offset: int
    key: str
    value: bytes | None
    time: int


def read_topic(bootstrap: str, topic: str, start: Offsets | None = None, end: Offsets | None = None) -> list[Read]:
    """The messages of a topic from ``start`` (else its beginning) to ``end`` (else its end now), by partition.

    Raises ``KafkaException`` if there is no such topic, ``TimeoutError`` if Kafka stops sending.
    """
    consumer = make_consumer(bootstrap)
    try:
        span = span_of(consumer, topic)
        ends = {n: high if end is None else min(end.get(n, low), high) for n, (low, high) in span.items()}
        starts = {n: max(low, 0 if start is None else start.get(n, 0)) for n, (low, _) in span.items()}
        wanted = {n for n in span if starts[n] < ends[n]}
        if not wanted:
            return []
        consumer.assign([TopicPartition(topic, n, starts[n]) for n in sorted(wanted)])
        return sorted(_drain(consumer, topic, wanted, ends), key=lambda read: (read.partition, read.offset))
    finally:
        consumer.close()


def _drain(consumer: Consumer, topic: str, wanted: set[int], ends: Offsets) -> list[Read]:
    """Consume until every partition's position has come to its end (compaction and markers leave holes in offsets)."""
    found: list[Read] = []
    last = time.monotonic()
    while wanted:
        messages = consumer.consume(BATCH, timeout=POLL_SECONDS)
        for message in messages:
            if message.error() is None and (read := as_read(message)).offset < ends[read.partition]:
                found.append(read)
        positions = consumer.position([TopicPartition(topic, n) for n in wanted])
        wanted -= {p.partition for p in positions if p.offset >= ends[p.partition]}
        last = time.monotonic() if messages else last
        if time.monotonic() - last > PATIENCE_SECONDS:
            raise TimeoutError(f"Kafka sent nothing of topic {topic} for {PATIENCE_SECONDS:.0f} s")
    return found


def as_read(message: Message) -> Read:
    """A consumed message without its client's types."""
    key, value = message.key(), message.value()
    text = key.decode(errors="replace") if isinstance(key, bytes) else key or ""
    content = value.encode() if isinstance(value, str) else value
    return Read(message.partition() or 0, message.offset() or 0, text, content, message.timestamp()[1])


@dataclass
class Follower:
    """A thread that calls ``handle`` with each message of one topic from ``start`` on, until it is closed."""

    bootstrap: str
    topic: str
    start: Offsets
    handle: Callable[[Read], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Follower:
        self._thread = threading.Thread(target=self._follow, name=f"follow {self.topic}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        consumer = make_consumer(self.bootstrap)
        consumer.assign([TopicPartition(self.topic, number, offset) for number, offset in self.start.items()])
        try:
            while not self._stop.is_set():
                first = consumer.poll(POLL_SECONDS)  # returns at once; consume would wait for a full batch
                if first is not None:
                    self._take([first, *consumer.consume(BATCH, timeout=0)])
        finally:
            consumer.close()

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                log.debug("%s: %s", self.topic, error.str())
                continue
            try:
                self.handle(as_read(message))
            except Exception:  # one message that nobody understands must not end the watch over all others
                log.exception("a message on %s could not be taken", self.topic)
