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
CONNECTION_BACKOFF = {"reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 5000}


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
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused-nothing-is-committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                **CONNECTION_BACKOFF,
            },
            logger=log,
        )

    def follow(self, on_message: Callable[[bytes], None], retry_seconds: float) -> None:
        """Call ``on_message`` with each value, in order per partition; a failing call is logged and left behind."""
        try:
            if not self._assign(retry_seconds):
                return
            while not self._stop.is_set():
                message = self._consumer.poll(POLL_SECONDS)
                if message is not None:
                    self._handle(message, on_message)
        finally:
            self._consumer.close()

    def _handle(self, message: Message, on_message: Callable[[bytes], None]) -> None:
        error = message.error()
        if error is not None:
            log.warning("topic %s: %s", self.topic, error.str())
            return
        value = message.value()
        if value is None:
            return
        try:
            on_message(value if isinstance(value, bytes) else value.encode())
        except Exception:
            log.exception("a message on %s could not be handled", self.topic)

    def _assign(self, retry_seconds: float) -> bool:
        while not self._stop.is_set():
            partitions = self._partitions()
            if partitions:
                self._consumer.assign([TopicPartition(self.topic, p, self._offset) for p in partitions])
                return True
            self._stop.wait(retry_seconds)
        return False

    def _partitions(self) -> Sequence[int]:
        try:
            metadata = self._consumer.list_topics(self.topic, timeout=METADATA_SECONDS).topics[self.topic]
        except (KafkaException, KeyError) as error:
            log.warning("waiting for topic %s: %s", self.topic, error)
            return ()
        if metadata.error is not None:
            log.warning("waiting for topic %s: %s", self.topic, metadata.error)
            return ()
        return sorted(metadata.partitions)
