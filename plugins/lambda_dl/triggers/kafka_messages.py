"""Waits until every one of some expected messages has come on a Kafka topic.

The provider's trigger sleeps for each message that does not match and commits offsets for a group; this one seeks by
time, reads in batches, joins no group and commits nothing. It knows nothing of what the messages mean.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent
from confluent_kafka import Consumer, KafkaException, TopicPartition

BATCH = 500
POLL_SECONDS = 1.0
BROKER_SECONDS = 10.0

#: A message is expected by some of its fields and their values.
Expectation = Mapping[str, Any]


def parse(value: bytes | None) -> dict[str, Any] | None:
    """The message as an object; ``None`` for a tombstone or anything that is no JSON object."""
    try:
        message = json.loads(value) if value else None
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def matches(expectation: Expectation, message: Mapping[str, Any]) -> bool:
    """Whether the message has every expected field with the expected value."""
    return all(message.get(name) == value for name, value in expectation.items())


def still_missing(expected: Iterable[Expectation], messages: Sequence[Mapping[str, Any]]) -> list[Expectation]:
    """Those expectations that none of the messages meets."""
    return [one for one in expected if not any(matches(one, message) for message in messages)]


class KafkaMessagesTrigger(BaseTrigger):
    """Fires ``{"status": "arrived", "messages": [...]}``, or ``{"status": "late", "missing": [...]}`` at the deadline.

    ``since_ms`` (milliseconds since the epoch) is where reading begins; ``deadline`` (seconds since the epoch) is
    absolute, so a restart of the triggerer neither forgets messages nor extends the wait.
    """

    def __init__(
        self, conn_id: str, topic: str, expected: Sequence[Expectation], since_ms: int, deadline: float
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.topic = topic
        self.expected = list(expected)
        self.since_ms = since_ms
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The whole state."""
        names = ("conn_id", "topic", "expected", "since_ms", "deadline")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Read on until all have come or the deadline has passed."""
        connection = await BaseHook.aget_connection(self.conn_id)
        consumer = Consumer(consumer_settings(connection.extra_dejson))
        try:
            yield TriggerEvent(await self._await_all(consumer))  # type: ignore[no-untyped-call]
        finally:
            await asyncio.to_thread(consumer.close)

    async def _await_all(self, consumer: Consumer) -> dict[str, Any]:
        missing, arrived, assigned = list(self.expected), [], False
        while missing and time.time() < self.deadline:
            try:
                if not assigned:
                    await asyncio.to_thread(seek, consumer, self.topic, self.since_ms)
                    assigned = True
                batch = await asyncio.to_thread(read_batch, consumer)
            except KafkaException as error:
                # Brokers come back; the deadline bounds how long that is waited for.
                self.log.warning("Kafka topic %s cannot be read: %s", self.topic, error)
                await asyncio.sleep(POLL_SECONDS)
                continue
            news = [message for message in batch if any(matches(one, message) for one in missing)]
            missing = still_missing(missing, batch)
            arrived += news
            if news:
                self.log.info("%d of %d messages have come", len(self.expected) - len(missing), len(self.expected))
        if missing:
            return {"status": "late", "missing": [dict(one) for one in missing]}
        return {"status": "arrived", "messages": arrived}


def consumer_settings(extra: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's extra as settings of a consumer that belongs to no group's offsets."""
    own = {"group.id": "lambda_dl.await", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    return {**extra, **own}


def seek(consumer: Consumer, topic: str, since_ms: int) -> None:
    """Place the consumer in every partition at the first message not older than ``since_ms``.

    Raises ``KafkaException`` while the broker or the topic cannot be reached.
    """
    metadata = consumer.list_topics(topic, timeout=BROKER_SECONDS).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    wanted = [TopicPartition(topic, partition, since_ms) for partition in metadata.partitions]
    consumer.assign(consumer.offsets_for_times(wanted, timeout=BROKER_SECONDS))


def read_batch(consumer: Consumer) -> list[dict[str, Any]]:
    """The next messages that are JSON objects; raises ``KafkaException`` for one that is an error, where it is alone.

    Beside others it is passed over: they would not be read again.
    """
    messages = consumer.consume(BATCH, timeout=POLL_SECONDS)
    errors = [message.error() for message in messages if message.error() is not None]
    if errors and len(errors) == len(messages):
        raise KafkaException(errors[0])
    values = [parse(message.value()) for message in messages if message.error() is None]
    return [value for value in values if value is not None]
