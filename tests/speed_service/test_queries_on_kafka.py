"""Queries over the real Kafka, through service processes that are killed: each is answered once, none is lost."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from include.streaming.messages import PreparedQuery, encode
from tests.speed_service.conftest import make_bundle, subject
from tests.speed_service.processes import Stack, stack_of, start_service, until

pytestmark = pytest.mark.integration

PARTITIONS = 2
HOUR_MS = 3_600_000
#: Where each good query's subject is asked about; some are asked about at two times, which makes two queries of them.
TIMES = ("2013-01-20T14:15:00Z", "2013-01-20T13:00:00Z")


@pytest.fixture
def stack() -> Iterator[Stack]:
    names = {"models": 1, "metrics": 1, "batch_events": 1, "tiles": 1, "predictions": 3, "rejected": 1}
    with stack_of({**names, "prepared_queries": PARTITIONS}) as stack:
        stack.publish_tiles()
        stack.promote(make_bundle(stack.store, stack.use_case, 1), 1)
        yield stack


def query(name: str, **changes: Any) -> tuple[bytes, bytes]:
    return name.encode(), encode(PreparedQuery(subject(id=name, **changes), {}, {}))


def some_queries(count: int) -> list[tuple[bytes, bytes]]:
    """Good ones, repeats of earlier ones (some nearby, some far behind), and bad ones, in a fixed order."""
    messages: list[tuple[bytes, bytes]] = []
    for number in range(count):
        messages.append(query(f"q{number}", prediction_time=TIMES[0]))
        if number % 5 == 0:
            messages.append(query(f"q{number}", prediction_time=TIMES[1]))
        if number % 4 == 0:
            messages.append(messages[-1])
        if number % 7 == 0:
            messages.append(messages[len(messages) // 2])
        if number % 20 == 0:
            messages.append(query(f"bad{number}", distance=-1))
        if number % 50 == 0:
            messages.append((b"", b"no query at all"))
    return messages


def committed(stack: Stack) -> dict[int, int]:
    """Up to where the group has committed, by partition."""
    group = f"{stack.use_case.name}.predictor"
    consumer = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": group})
    try:
        places = [TopicPartition(stack.topics.prepared_queries, number) for number in range(PARTITIONS)]
        return {place.partition: max(0, place.offset) for place in consumer.committed(places, timeout=10)}
    finally:
        consumer.close()


def answers(stack: Stack) -> Counter[tuple[str, str]]:
    """How often each query was answered."""
    return Counter((message["id"], message["prediction_time"]) for message in stack.read(stack.topics.predictions))


def slowly(stack: Stack, messages: list[tuple[bytes, bytes]], stop: threading.Event) -> threading.Thread:
    """Send messages over some seconds, so that whatever happens meanwhile happens in the middle of them."""

    def send() -> None:
        for start in range(0, len(messages), 10):
            stack.send(stack.topics.prepared_queries, messages[start : start + 10])
            if stop.wait(0.2):
                return

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_each_query_is_answered_once_whatever_dies(stack: Stack, tmp_path: Path) -> None:
    """One service is killed in the middle of the stream, another joins it, then the first of the two is killed."""
    messages, stop = some_queries(400), threading.Event()
    good = {
        (document["subject"]["id"], document["subject"]["prediction_time"])
        for key, value in messages
        if value.startswith(b"{") and (document := json.loads(value)) and document["subject"]["distance"] > 0
    }
    assert len(messages) > len(good) + 100, "there are repeats"
    services = [start_service(stack, tmp_path / "first")]
    sending = None
    try:
        until(services[0].ready, "the first service")
        sending = slowly(stack, messages, stop)
        until(lambda: len(answers(stack)) > 60, "the first answers")
        services[0].stop(signal.SIGKILL)
        services += [start_service(stack, tmp_path / "second"), start_service(stack, tmp_path / "third")]
        before = len(answers(stack))
        until(lambda: len(answers(stack)) > before + 60, "answers of the next")
        services[1].stop(signal.SIGKILL)
        sending.join()
        until(lambda: sum(committed(stack).values()) == len(messages), "all queries to be committed")
        status, metrics = services[2].call("/metrics")
    finally:
        stop.set()
        for service in services:
            service.stop(signal.SIGKILL)
    found = answers(stack)
    assert set(found) == good
    assert set(found.values()) == {1}
    told = Counter(message["id"] for message in stack.read(stack.topics.rejected))
    assert set(told) == {f"bad{number}" for number in range(0, 400, 20)} | {None}
    assert status == 200 and "kafka_query_age_seconds_count" in metrics


def test_a_crash_before_the_commit_gives_no_second_answer(stack: Stack, tmp_path: Path) -> None:
    """As if every process had died between its answers and its commits: nothing of the group's progress is left.

    One query was asked, and another answered, longer ago than the horizon: Kafka's times judge, not the clock.
    """
    long_ago = int(time.time() * 1000) - 5 * HOUR_MS
    old = {"id": "old", "prediction_time": TIMES[0], "via": "kafka"}
    stack.send(stack.topics.predictions, [(b"old", json.dumps(old).encode())], long_ago + 1000)
    stack.send(stack.topics.prepared_queries, [query("old", prediction_time=TIMES[0])], long_ago)
    messages = [query(f"q{number}", prediction_time=TIMES[0]) for number in range(300)]
    stack.send(stack.topics.prepared_queries, messages)
    first = start_service(stack, tmp_path / "first")
    try:
        until(lambda: len(answers(stack)) == 301, "the answers")
        until(lambda: sum(committed(stack).values()) == 301, "the commits")
    finally:
        first.stop(signal.SIGKILL)
    forget_commits(stack)
    second = start_service(stack, tmp_path / "second")
    try:
        stack.send(stack.topics.prepared_queries, [query("newest", prediction_time=TIMES[0])])
        until(lambda: sum(committed(stack).values()) == 302, "the queries to be taken up again")
    finally:
        second.stop(signal.SIGKILL)
    found = answers(stack)
    assert set(found.values()) == {1} and len(found) == 302


def test_a_service_that_is_told_to_stop_leaves_its_queries_to_others_at_once(stack: Stack, tmp_path: Path) -> None:
    service = start_service(stack, tmp_path / "first")
    try:
        until(service.ready, "the service")
        stack.send(stack.topics.prepared_queries, [query("one")])
        until(lambda: len(answers(stack)) == 1, "its answer")
        assert service.predict(id="logged")[0] == 200
        service.stop()
        assert members(stack) == 0, "not only when their time is over"
        assert set(answers(stack).values()) == {1} and len(answers(stack)) == 2, "what was to be logged is"
    finally:
        service.stop(signal.SIGKILL)


def members(stack: Stack) -> int:
    """How many processes the brokers believe to be in the group."""
    group = f"{stack.use_case.name}.predictor"
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    return len(admin.describe_consumer_groups([group])[group].result(30).members)


def forget_commits(stack: Stack) -> None:
    """Set the group back to the beginning, as soon as the brokers see that its members are gone."""
    admin = AdminClient({"bootstrap.servers": stack.bootstrap})
    places = [TopicPartition(stack.topics.prepared_queries, number, 0) for number in range(PARTITIONS)]
    group = ConsumerGroupTopicPartitions(f"{stack.use_case.name}.predictor", places)

    def done() -> bool:
        altered = next(iter(admin.alter_consumer_group_offsets([group]).values()))
        return altered.exception(30) is None and not any(place.error for place in altered.result().topic_partitions)

    until(done, "the members to be forgotten")
    assert sum(committed(stack).values()) == 0
