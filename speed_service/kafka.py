"""Kafka for the service: a sender that never blocks a request, and a tail that follows one topic for ever.

A tail assigns partitions itself: no consumer group, nothing committed, so every process sees every message.
It does not know what messages mean.
"""

import logging
import threading
from collections.abc import Callable, Sequence

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

from speed_service.telemetry import Telemetry

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
METADATA_SECONDS = 5.0
#: Messages that are handled together, of those that are there already.
MOST_TOGETHER = 2000
CONNECTION_BACKOFF = {"reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 5000}
#: A consumer that hears of a message within milliseconds.
PROMPT = {"fetch.wait.max.ms": 5, "fetch.error.backoff.ms": 50}

Handle = Callable[[Sequence[bytes]], None]


class Sender:
    """An idempotent producer. Messages wait in memory (bounded) while the brokers are away."""

    def __init__(self, bootstrap: str, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 600_000,
                "queue.buffering.max.messages": 10_000,
                **CONNECTION_BACKOFF,
            },
            logger=log,
        )

    def __call__(self, topic: str, key: bytes, value: bytes) -> None:
        """Queue one message; counts, and logs, one that cannot be queued or delivered."""
        try:
            self._producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            self._failed(str(error))

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def flush(self, seconds: float) -> None:
        """Wait until what is queued was delivered, at most ``seconds``."""
        self._producer.flush(seconds)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed(str(error))

    def _failed(self, why: str) -> None:
        self._telemetry.send_failures.inc()
        log.error("Kafka did not take a message: %s", why)


class Tail:
    """Follows one topic in the calling thread until ``stop`` is set; waits for a topic that is not there yet."""

    def __init__(self, bootstrap: str, topic: str, from_beginning: bool, stop: threading.Event) -> None:
        self.topic = topic
        self._stop = stop
        self._offset = OFFSET_BEGINNING if from_beginning else OFFSET_END
        #: Per partition, the end of the topic when following began, until it is reached.
        self._ends: dict[int, int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused-nothing-is-committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                **PROMPT,
                **CONNECTION_BACKOFF,
            },
            logger=log,
        )

    def follow(
        self, on_messages: Handle, retry_seconds: float, on_caught_up: Callable[[], None] = lambda: None
    ) -> None:
        """Call ``on_messages`` with the values that are there, in order per partition; a failing call is logged.

        ``on_caught_up`` is called once, when everything that was there at the beginning has been handled; also when
        the topic does not exist yet.
        """
        try:
            if not self._assign(retry_seconds, on_caught_up):
                return
            behind = True
            while not self._stop.is_set():
                first = self._consumer.poll(POLL_SECONDS)
                if first is not None:
                    more = self._consumer.consume(MOST_TOGETHER - 1, timeout=0)
                    self._handle([first, *more], on_messages)
                if behind and not self._ends:
                    behind = False
                    on_caught_up()
        finally:
            self._consumer.close()

    def _handle(self, messages: Sequence[Message], on_messages: Handle) -> None:
        values: list[bytes] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    log.warning("topic %s: %s", self.topic, error.str())
                    continue
            elif (value := message.value()) is not None:
                values.append(value if isinstance(value, bytes) else value.encode())
            self._reached(message)
        if not values:
            return
        try:
            on_messages(values)
        except Exception:
            log.exception("%d messages on %s could not be handled", len(values), self.topic)

    def _reached(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if partition in self._ends and offset is not None and offset + 1 >= self._ends[partition]:
            del self._ends[partition]

    def _assign(self, retry_seconds: float, on_missing: Callable[[], None]) -> bool:
        while not self._stop.is_set():
            try:
                partitions = self._partitions()
                if partitions is None:
                    on_missing()
                else:
                    self._begin(partitions)
                    return True
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

    def _partitions(self) -> Sequence[int] | None:
        """The topic's partitions, None if there is no such topic; raises ``KafkaException`` if nobody knows."""
        metadata = self._consumer.list_topics(self.topic, timeout=METADATA_SECONDS).topics.get(self.topic)
        if metadata is None or (
            metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        ):
            return None
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)
