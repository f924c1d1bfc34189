"""Send JSON messages to Kafka and return only when the brokers have them.

Every message that could not be delivered is an error for the caller: nothing is dropped silently. It does not know
what the messages mean (see docs/schemas).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from include.settings import KafkaSettings

DELIVERY_TIMEOUT_SECONDS = 30

#: A message: its key (which decides partition and, on compacted topics, what it replaces) and its JSON value.
Message = tuple[str, Mapping[str, Any]]

#: Sends messages to a topic and returns how many; raises ``BroadcastError`` if one was not delivered.
Announce = Callable[[str, Iterable[Message]], int]


class BroadcastError(RuntimeError):
    """At least one message did not reach the brokers; the message says how many and why."""


def broadcast(settings: KafkaSettings, topic: str, messages: Iterable[Message]) -> int:
    """Send messages in order, idempotently, and wait for the brokers' answers; returns how many.

    Raises ``BroadcastError`` if one was refused or no answer came in time.
    """
    from confluent_kafka import KafkaError, Producer
    from confluent_kafka import Message as Delivered

    failures: list[str] = []

    def on_delivery(error: KafkaError | None, _: Delivered) -> None:
        if error is not None:
            failures.append(error.str())

    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap,
            "enable.idempotence": True,
            "message.timeout.ms": DELIVERY_TIMEOUT_SECONDS * 1000,
        }
    )
    sent = 0
    for key, value in messages:
        producer.produce(topic, key=key, value=encode(value), on_delivery=on_delivery)
        sent += 1
    unanswered = producer.flush(DELIVERY_TIMEOUT_SECONDS + 5)
    if failures or unanswered:
        why = failures[0] if failures else "no answer in time"
        raise BroadcastError(f"{len(failures) + unanswered} of {sent} messages to {topic} were not delivered: {why}")
    return sent


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
