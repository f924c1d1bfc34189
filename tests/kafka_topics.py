"""Topics for a test, made so that they are there when the test begins. Knows nothing of what they are for.

A broker says that a topic is created once the controller has written it down; the broker's own view of it follows a
moment later, on a busy machine a noticeable one. Until then a consumer is told that there is no such topic.
"""

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1


def make_topics(bootstrap: str, topics: Iterable[NewTopic]) -> AdminClient:
    """Create topics and wait until the broker shows each with a leader for every partition; the client, to delete them.

    Raises ``KafkaException`` if one cannot be created, ``TimeoutError`` if one does not show.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = list(topics)
    for future in admin.create_topics(wanted).values():
        future.result(PATIENCE_SECONDS)
    end = time.monotonic() + PATIENCE_SECONDS
    while missing := [topic.topic for topic in wanted if not _shown(admin, topic)]:
        if time.monotonic() > end:
            raise TimeoutError(f"the broker at {bootstrap} does not show {missing} after {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return admin


def _shown(admin: AdminClient, topic: NewTopic) -> bool:
    found = admin.list_topics(topic.topic, timeout=PATIENCE_SECONDS).topics[topic.topic]
    return (
        found.error is None
        and len(found.partitions) == topic.num_partitions
        and all(part.leader >= 0 and _well(part.error) for part in found.partitions.values())
    )


def _well(error: KafkaError | None) -> bool:
    return error is None or error.code() == KafkaError.NO_ERROR
