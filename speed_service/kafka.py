"""Kafka for the service: senders that never block a request, a tail that follows one topic for ever, a look back.

Tails and looks back assign partitions themselves: no consumer group, nothing committed, so every process sees every
message. It does not know what messages mean.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from include.settings import READS_GROUP, KafkaSettings
from speed_service.telemetry import Telemetry

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
METADATA_SECONDS = 5.0
#: A broker that says nothing for so long in the middle of a look back is away.
READ_SECONDS = 30.0
#: Messages that are handled together, of those that are there already.
MOST_TOGETHER = 2000
FULL_SECONDS = 0.1
RECONNECTING: Mapping[str, Any] = {"reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 5000}
#: No group but in name: what reads with these settings sees everything and leaves no trace.
READING: Mapping[str, Any] = {
    "group.id": READS_GROUP,
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.error.backoff.ms": 50,
    **RECONNECTING,
}

Handle = Callable[[Sequence[bytes]], None]


class Sender:
    """An idempotent producer. Messages wait in memory (bounded) while the brokers are away."""

    def __init__(self, kafka: KafkaSettings, telemetry: Telemetry, **settings: Any) -> None:
        self._telemetry = telemetry
        self._producer = Producer(
            {
                **kafka.client(),
                "enable.idempotence": True,
                "message.timeout.ms": 600_000,
                "queue.buffering.max.messages": 10_000,
                **RECONNECTING,
                **settings,
            },
            logger=log,
        )

    def __call__(self, topic: str, key: bytes, value: bytes) -> None:
        """Queue one message; counts, and logs, one that cannot be queued or delivered."""
        try:
            self._produce(topic, key, value)
        except (BufferError, KafkaException) as error:
            self._failed(str(error))

    def patiently(self, topic: str, key: bytes, value: bytes, stop: threading.Event) -> None:
        """Queue one message, once there is room for it or ``stop`` is set; for threads that may wait."""
        while True:
            try:
                self._produce(topic, key, value)
                return
            except (BufferError, KafkaException) as error:
                if stop.is_set() or isinstance(error, KafkaException):
                    self._failed(str(error))
                    return
            self._producer.poll(FULL_SECONDS)

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def flush(self, seconds: float) -> None:
        """Wait until what is queued was delivered, at most ``seconds``."""
        self._producer.flush(seconds)

    def _produce(self, topic: str, key: bytes, value: bytes) -> None:
        self._producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed(str(error))

    def _failed(self, why: str) -> None:
        self._telemetry.send_failures.inc()
        log.error("Kafka did not take a message: %s", why)


def take(consumer: Consumer, most: int, seconds: float) -> list[Message]:
    """What is there now, at most ``most`` messages; waits up to ``seconds`` for a first one, for no second one."""
    first = consumer.poll(seconds)
    return [] if first is None else [first, *consumer.consume(most - 1, timeout=0)]


def value_of(message: Message) -> bytes:
    """A message's value; empty where it has none."""
    value = message.value()
    return value if isinstance(value, bytes) else (value or "").encode()


def place_of(message: Message) -> tuple[int, int]:
    """A message's partition and offset."""
    return int(message.partition() or 0), int(message.offset() or 0)


def time_of(message: Message) -> int:
    """When a message was sent, in milliseconds since 1970."""
    return int(message.timestamp()[1])


class Tail:
    """Follows one topic in the calling thread until ``stop`` is set; waits for a topic that is not there yet."""

    def __init__(self, kafka: KafkaSettings, topic: str, from_beginning: bool, stop: threading.Event) -> None:
        self.topic = topic
        self._stop = stop
        self._offset = OFFSET_BEGINNING if from_beginning else OFFSET_END
        #: Per partition, the end of the topic when following began, until it is reached.
        self._ends: dict[int, int] = {}
        self._consumer = Consumer({**kafka.client(), **READING}, logger=log)

    def follow(
        self, on_messages: Handle, retry_seconds: float, on_caught_up: Callable[[], None] = lambda: None
    ) -> None:
        """Call ``on_messages`` with the values that are there, in order per partition; a failing call is logged.

        ``on_caught_up`` is called once, when everything that was there at the beginning has been handled; also while
        the topic does not exist yet.
        """
        try:
            if not self._assign(retry_seconds, on_caught_up):
                return
            behind = True
            while not self._stop.is_set():
                self._handle(take(self._consumer, MOST_TOGETHER, POLL_SECONDS), on_messages)
                if behind and not self._ends:
                    behind = False
                    on_caught_up()
        finally:
            self._consumer.close()

    def _handle(self, messages: Sequence[Message], on_messages: Handle) -> None:
        values: list[bytes] = []
        for message in messages:
            error = message.error()
            if error is None and message.value() is not None:
                values.append(value_of(message))
            elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                log.warning("topic %s: %s", self.topic, error.str())
                continue
            self._reached(*place_of(message))
        if not values:
            return
        try:
            on_messages(values)
        except Exception:
            log.exception("%d messages on %s could not be handled", len(values), self.topic)

    def _reached(self, partition: int, offset: int) -> None:
        if partition in self._ends and offset + 1 >= self._ends[partition]:
            del self._ends[partition]

    def _assign(self, retry_seconds: float, on_missing: Callable[[], None]) -> bool:
        while not self._stop.is_set():
            try:
                partitions = partitions_of(self._consumer, self.topic)
                if partitions is not None:
                    self._begin(partitions)
                    return True
                on_missing()
            except KafkaException as error:
                log.warning("waiting for topic %s: %s", self.topic, error)
            self._stop.wait(retry_seconds)
        return False

    def _begin(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(self.topic, number), METADATA_SECONDS)
            if high > low:
                self._ends[number] = high
        self._consumer.assign([TopicPartition(self.topic, number, self._offset) for number in partitions])


def partitions_of(consumer: Consumer, topic: str) -> Sequence[int] | None:
    """The topic's partitions, None if there is no such topic; raises ``KafkaException`` if nobody knows."""
    metadata = consumer.list_topics(topic, timeout=METADATA_SECONDS).topics.get(topic)
    if metadata is None or (metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
        return None
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return sorted(metadata.partitions)


class Past:
    """What lies on a topic as it ends now; every call raises ``KafkaException`` when the brokers do not answer."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic

    def since(self, time: int) -> Iterator[Message]:
        """The messages sent at ``time`` (milliseconds since 1970) or later, in order per partition."""
        consumer = self._consumer()
        try:
            asked = [TopicPartition(self._topic, number, time) for number in self._partitions(consumer)]
            starts = consumer.offsets_for_times(asked, timeout=METADATA_SECONDS)
            # A negative offset: nothing that young.
            yield from self._read(consumer, {found.partition: found.offset for found in starts if found.offset >= 0})
        finally:
            consumer.close()

    def oldest(self, offsets: Mapping[int, int]) -> int | None:
        """When the oldest of the first messages at these offsets (by partition) was sent; None where there is none."""
        consumer = self._consumer()
        try:
            times: dict[int, int] = {}
            for partition, offset in offsets.items():
                first = next(self._read(consumer, {partition: offset}), None)
                if first is not None:
                    times[partition] = time_of(first)
            return min(times.values(), default=None)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer({**self._kafka.client(), **READING}, logger=log)

    def _partitions(self, consumer: Consumer) -> Sequence[int]:
        partitions = partitions_of(consumer, self._topic)
        if partitions is None:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"there is no topic {self._topic}"))
        return partitions

    def _read(self, consumer: Consumer, starts: Mapping[int, int]) -> Iterator[Message]:
        ends = {p: consumer.get_watermark_offsets(TopicPartition(self._topic, p), METADATA_SECONDS)[1] for p in starts}
        unread = {partition for partition, start in starts.items() if start < ends[partition]}
        consumer.assign([TopicPartition(self._topic, partition, starts[partition]) for partition in unread])
        while unread:
            messages = take(consumer, MOST_TOGETHER, READ_SECONDS)
            if not messages:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{self._topic} could not be read"))
            for message in messages:
                error, (partition, offset) = message.error(), place_of(message)
                if error is None:
                    yield message
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if offset + 1 >= ends[partition]:
                    unread.discard(partition)
