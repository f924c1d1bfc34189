"""How far the predictions topic has been written to the table: offsets on Kafka against those in the table's log.

The Spark job notes with each commit, as a Delta transaction of the application ``<topic>/<partition>``, the offset
that comes next: rows and position are one commit, so no message is there twice or not at all.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from deltalake.exceptions import TableNotFoundError

from include import lake
from include.locations import Topics
from include.settings import READS_GROUP, KafkaSettings

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
TABLE = "predictions"


class TopicShorter(ValueError):
    """The topic ends before what the table already has of it: it was made anew. The message says what to do."""


@dataclass(frozen=True)
class Unread:
    """The messages of one partition that the table lacks: offsets ``[start, end)``."""

    partition: int
    start: int
    end: int

    def parts(self, size: int) -> Iterator["Unread"]:
        """The same in pieces of at most ``size`` offsets."""
        for start in range(self.start, self.end, size):
            yield Unread(self.partition, start, min(start + size, self.end))


def application(topic: str, partition: int) -> str:
    """The name under which the table's log keeps a partition's position."""
    return f"{topic}/{partition}"


def extents(kafka: KafkaSettings, topic: str) -> dict[int, tuple[int, int]]:
    """Per partition the first offset and the one after the last; none if there is no such topic."""
    consumer = Consumer({**kafka.client(), "group.id": READS_GROUP, "enable.auto.commit": False})
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic]
        if metadata.error is not None:
            if metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return {}
            raise KafkaException(metadata.error)
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_SECONDS)
            for number in sorted(metadata.partitions)
        }
    finally:
        consumer.close()


def next_offsets(use_case: str, topic: str, partitions: Mapping[int, object]) -> dict[int, int]:
    """Per partition the offset to read next, by the table's log; partitions it has nothing of are absent."""
    try:
        table = lake.open_table(use_case, TABLE)
    except TableNotFoundError:
        return {}
    found = {number: table.transaction_version(application(topic, number)) for number in partitions}
    return {number: position for number, position in found.items() if position is not None}


def unread(topic: str, ends: Mapping[int, tuple[int, int]], positions: Mapping[int, int]) -> list[Unread]:
    """What to read of each partition, empty ones left out; raises ``TopicShorter``.

    Messages that the topic has dropped before they were read are counted in a warning.
    """
    ranges = []
    for number, (first, end) in ends.items():
        position = positions.get(number, first)
        if position > end:
            raise TopicShorter(
                f"{topic} partition {number} ends at offset {end}, but the table {TABLE} has it up to {position}: the "
                f"topic was made anew. Move the table away (or send to a new topic name), then run this again"
            )
        if position < first:
            log.warning("%s partition %d: offsets %d to %d were dropped unread", topic, number, position, first - 1)
        if max(position, first) < end:
            ranges.append(Unread(number, max(position, first), end))
    return ranges


def unread_now(use_case: str, kafka: KafkaSettings) -> list[Unread]:
    """What the table lacks of the predictions topic at this moment."""
    topic = Topics(use_case).predictions
    ends = extents(kafka, topic)
    return unread(topic, ends, next_offsets(use_case, topic, ends))
