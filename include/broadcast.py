"""Send JSON messages to Kafka and return only when the brokers have them.

Every message that could not be delivered is an error for the caller: nothing is dropped silently. It does not know
what the messages mean (see docs/schemas).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka import Message as Delivered

DELIVERY_TIMEOUT_SECONDS = 30

#: A message: its key (which decides partition and, on compacted topics, what it replaces) and its JSON value.
Message = tuple[str, Mapping[str, Any]]

#: Sends messages to a topic and returns how many; raises ``BroadcastError`` if one was not delivered.
Announce = Callable[[str, Iterable[Message]], int]


class BroadcastError(RuntimeError):
    """At least one message did not reach the brokers; the message says how many and why."""


class Broadcaster:
    """An idempotent producer that is kept: for senders of many small batches. Not for use by several threads."""

    def __init__(self, settings: KafkaSettings, timeout_seconds: int = DELIVERY_TIMEOUT_SECONDS) -> None:
        from confluent_kafka import Producer

        self._timeout = timeout_seconds
        self._failures: list[str] = []
        self._producer = Producer(
            {
                **settings.client(),
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": timeout_seconds * 1000,
            }
        )

    def send(self, messages: Iterable[tuple[str, str, bytes]]) -> int:
        """Send (topic, key, value) in order and wait for the brokers' answers; returns how many.

        Raises ``BroadcastError`` if one was refused or no answer came in time.
        """
        self._failures.clear()
        sent = 0
        for topic, key, value in messages:
            self._produce(topic, key, value)
            sent += 1
        unanswered = self._producer.flush(self._timeout + 5)
        if self._failures or unanswered:
            why = self._failures[0] if self._failures else "no answer in time"
            lost = len(self._failures) + unanswered
            raise BroadcastError(f"{lost} of {sent} messages were not delivered: {why}")
        return sent

    def _produce(self, topic: str, key: str, value: bytes) -> None:
        try:
            self._producer.produce(topic, key=key, value=value, on_delivery=self._on_delivery)
        except BufferError:  # more than the client holds: wait for some to be delivered
            self._producer.flush(self._timeout)
            self._producer.produce(topic, key=key, value=value, on_delivery=self._on_delivery)

    def _on_delivery(self, error: "KafkaError | None", _: "Delivered") -> None:
        if error is not None:
            self._failures.append(error.str())


def broadcast(settings: KafkaSettings, topic: str, messages: Iterable[Message]) -> int:
    """Send messages to one topic in order, idempotently, and wait for the brokers' answers; returns how many.

    Raises ``BroadcastError`` if one was refused or no answer came in time.
    """
    return Broadcaster(settings).send((topic, key, encode(value)) for key, value in messages)


def announcer(settings: KafkaSettings) -> Announce:
    """``broadcast`` to one cluster, for those who need not know which."""

    def announce(topic: str, messages: Iterable[Message]) -> int:
        return broadcast(settings, topic, messages)

    return announce


def encode(value: Mapping[str, Any]) -> bytes:
    """A message's value: JSON without NaN."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def rfc3339(moment: datetime) -> str:
    """A time as messages spell it: UTC, to the millisecond, ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
