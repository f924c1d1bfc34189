"""Queries over Kafka: prepared queries in, predictions out, each query answered once.

Delivery is at least once. What was answered within the horizon is remembered, and read back from the predictions topic
whenever partitions are assigned, so also after a crash and when another worker takes over. Offsets are committed after
the brokers have the predictions. It does not know how a query was prepared.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from numpy.typing import NDArray

from include.contracts.decoder import seconds_of
from include.features.spec import Reference
from include.locations import Topics
from include.settings import KafkaSettings
from include.streaming import messages
from include.streaming.messages import INVALID, QUERIES, PreparedQuery
from speed_service.answered import Answered, Identity
from speed_service.champion import Champion
from speed_service.kafka import (
    METADATA_SECONDS,
    POLL_SECONDS,
    RECONNECTING,
    Past,
    partitions_of,
    place_of,
    take,
    time_of,
    value_of,
)
from speed_service.prediction_log import prediction_messages
from speed_service.predictor import predict
from speed_service.queries import Query, check_subject
from speed_service.service import Service
from speed_service.telemetry import precise

log = logging.getLogger(__name__)

#: Queries that are answered together: those that are there, without waiting for more.
MOST_TOGETHER = 256
#: Answers that are read back before the oldest are let go of, where there are more than are remembered.
READ_BACK_TOGETHER = 10_000
#: Longer than a message may wait for the brokers: after it every one has been delivered or has failed.
DELIVERY_SECONDS = 120
FLUSH_SECONDS = DELIVERY_SECONDS * 1.5

Out = tuple[str, bytes, bytes]
"""Topic, key and value of a message to send."""


class DeliveryFailed(RuntimeError):
    """Kafka did not take the answers; the queries are not committed, and taken up again."""


@dataclass(frozen=True)
class Asked:
    """A good query: as checked, as it came, and when it was sent (milliseconds since 1970)."""

    query: Query
    prepared: PreparedQuery
    sent: int

    @property
    def identity(self) -> Identity:
        """What makes two queries the same one."""
        return self.query.id, self.query.prediction_seconds


@dataclass(frozen=True)
class Refused:
    """A message that is no good query: whose, and why."""

    id: str | None
    reasons: Sequence[str]
    record: bytes


class _Logged(msgspec.Struct):
    """What identifies an answer on the predictions topic; the rest is not looked at."""

    id: str
    prediction_time: str
    via: str


_prepared_decoder = msgspec.json.Decoder(PreparedQuery)
_logged_decoder = msgspec.json.Decoder(_Logged)


def read_query(value: bytes, sent: int, service: Service) -> Asked | Refused:
    """Check a message of the prepared queries' topic as a subject over HTTP is checked."""
    try:
        prepared = _prepared_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refused(None, [f"message: is no prepared query: {error}"], value)
    judged = check_subject(prepared.subject, service.use_case)
    if isinstance(judged, Query):
        return Asked(judged, prepared, sent)
    identity = prepared.subject.get(service.use_case.subject.key)
    reasons = [f"{field or 'subject'}: {why}" for field, why in judged]
    return Refused(identity if isinstance(identity, str) else None, reasons, value)


def logged_identity(value: bytes) -> Identity | None:
    """Which query a message of the predictions topic answers; None for one that answers none that came over Kafka."""
    try:
        logged = _logged_decoder.decode(value)
        seconds = seconds_of(logged.prediction_time)
    except ValueError:  # also what msgspec raises
        return None
    return (logged.id, seconds) if logged.via == "kafka" and seconds is not None else None


def joined_columns(
    prepared: Sequence[PreparedQuery], references: Sequence[Reference], champion: Champion
) -> dict[str, NDArray[Any]] | None:
    """The reference columns that came with the queries; None if any is not of the champion's tables, or of its kind."""
    if any(query.reference_versions != champion.reference_versions for query in prepared):
        return None
    columns: dict[str, NDArray[Any]] = {}
    for reference in references:
        for name, kind in reference.columns.items():
            column = f"{reference.name}_{name}"
            values = [query.references.get(column) for query in prepared]
            if any(value is not None and isinstance(value, str) != (kind == "text") for value in values):
                return None
            columns[column] = _numbers(values) if kind == "numeric" else np.array(values, dtype=object)
    return columns


def _numbers(values: Sequence[float | str | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


class QueryLoop:
    """Answers queries in the calling thread until ``stop`` is set."""

    def __init__(self, service: Service, stop: threading.Event) -> None:
        self._service = service
        self._stop = stop
        self._topics = Topics(service.use_case.name)
        self._answered = Answered(int(service.config.query_horizon_seconds * 1000))
        #: How far queries lay behind the clock when partitions were assigned, or later, in milliseconds.
        self._behind = 0

    def run(self) -> None:
        """Wait until the service is ready, then answer; a broker that is away is waited for."""
        while not self._stop.is_set() and self._service.not_ready():
            self._stop.wait(self._service.config.retry_seconds / 10)
        while not self._stop.is_set():
            try:
                self._answer_all()
            except (KafkaException, DeliveryFailed) as error:
                log.warning("the queries are left and taken up again: %s", error)
            except Exception:
                log.exception("the queries are left and taken up again")
            self._stop.wait(self._service.config.retry_seconds)

    def judge(self, taken: Sequence[tuple[bytes, int]]) -> tuple[list[Out], list[Identity]]:
        """What to send for messages (value, when sent), and the identities that this answers."""
        out: list[Out] = []
        good: dict[Identity, Asked] = {}
        for value, sent in taken:
            read = read_query(value, sent, self._service)
            if isinstance(read, Refused):
                out.append(self._rejection(read))
            elif read.identity in good or self._answered.covers(read.identity, read.sent):
                self._service.telemetry.duplicates.inc()
            else:
                good[read.identity] = read
        return [*out, *self._predictions(list(good.values()))], list(good)

    def remember(self, partitions: Sequence[TopicPartition], committed: Mapping[int, int]) -> None:
        """Read back what was answered, within the horizon, of the queries that wait from these offsets on."""
        began, now = time.monotonic(), now_milliseconds()
        oldest = Past(self._kafka, self._topics.prepared_queries).oldest(committed)
        self._behind = max(0, now - (now if oldest is None else oldest))
        since = now - self._behind - int(self._service.config.query_horizon_seconds * 1000)
        answers = Past(self._kafka, self._topics.predictions).since(max(0, since))
        for number, message in enumerate(answers, 1):
            identity = logged_identity(value_of(message))
            if identity is not None:
                self._answered.add(identity, time_of(message))
            if number % READ_BACK_TOGETHER == 0:  # after a long pause these are more than memory may hold
                self._answered.forget(now - self._behind)
        self._answered.forget(now - self._behind)
        took = time.monotonic() - began
        log.info("%d partitions of queries, %d answers read back in %.1f s", len(partitions), len(self._answered), took)

    @property
    def _kafka(self) -> KafkaSettings:
        return self._service.config.kafka

    def _answer_all(self) -> None:
        consumer, producer = self._consumer(), self._producer()
        try:
            if partitions_of(consumer, self._topics.prepared_queries) is None:
                return  # not there yet: asked again soon, where a subscription would take minutes to see it
            consumer.subscribe([self._topics.prepared_queries], on_assign=self._on_assign)
            while not self._stop.is_set():
                taken = [message for message in take(consumer, MOST_TOGETHER, POLL_SECONDS) if _usable(message)]
                if taken:
                    self._answer(consumer, producer, taken)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        settings = {
            **self._kafka.client(),
            "group.id": f"{self._service.use_case.name}.predictor",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # The shortest that brokers allow by default: how long the queries of a process that died wait.
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_500,
            "fetch.error.backoff.ms": 50,
            **RECONNECTING,
        }
        return Consumer(settings, logger=log)

    def _producer(self) -> Producer:
        settings = {
            **self._kafka.client(),
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.timeout.ms": DELIVERY_SECONDS * 1000,
            **RECONNECTING,
        }
        return Producer(settings, logger=log)

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Before anything of new partitions is answered: what has been answered of them already?"""
        committed = consumer.committed(list(partitions), timeout=METADATA_SECONDS)
        self.remember(partitions, {place.partition: _begin(consumer, place) for place in committed})

    def _answer(self, consumer: Consumer, producer: Producer, taken: Sequence[Message]) -> None:
        """Answer what was taken, and commit it once the brokers have the answers."""
        began = time.perf_counter()
        out, identities = self.judge([(value_of(message), time_of(message)) for message in taken])
        failed: list[str] = []
        for topic, key, value in out:
            producer.produce(topic, value=value, key=key, on_delivery=partial(_note, failed))
        producer.flush(FLUSH_SECONDS)
        if failed or len(producer):
            raise DeliveryFailed(failed[0] if failed else "no answer in time")
        now = now_milliseconds()
        for identity in identities:
            self._answered.add(identity, now)
        consumer.commit(offsets=_after(taken), asynchronous=True)
        self._meter(consumer, now - min(map(time_of, taken)), time.perf_counter() - began)
        self._answered.forget(now - self._behind)

    def _meter(self, consumer: Consumer, age: int, seconds: float) -> None:
        """Note how long one batch took, from when its oldest query was sent and from when it was taken."""
        self._behind = max(self._behind, age)
        telemetry = self._service.telemetry
        telemetry.kafka_age.observe(max(0, age) / 1000)
        telemetry.kafka_latency.observe(seconds)
        telemetry.query_lag.set(_lag(consumer))

    def _predictions(self, asked: Sequence[Asked]) -> Iterator[Out]:
        champion, use_case = self._service.champion, self._service.use_case
        if not asked or champion is None:
            return
        queries = [one.query for one in asked]
        try:
            joined = joined_columns([one.prepared for one in asked], use_case.features.references, champion)
            predicted = predict(use_case, champion, self._service.history, queries, joined)
        except Exception:
            yield from self._one_by_one(asked)
            return
        now = datetime.now(UTC)
        for key, value in prediction_messages(champion, predicted.answer, queries, predicted.columns, "kafka", now):
            yield self._topics.predictions, key, value
        self._service.note_answers(predicted.answer.predictions, queries)

    def _one_by_one(self, asked: Sequence[Asked]) -> Iterator[Out]:
        """One query broke the batch: it is told, so that it does not come again for ever; the others are answered."""
        if len(asked) > 1:
            for one in asked:
                yield from self._predictions([one])
            return
        log.exception("a query could not be answered")
        why = ["subject: cannot be answered; the service's log says why"]
        yield self._rejection(Refused(asked[0].query.id, why, messages.encode(asked[0].prepared)))

    def _rejection(self, refused: Refused) -> Out:
        self._service.telemetry.rejected.labels("invalid-query").inc()
        record, now = refused.record.decode(errors="replace"), precise(datetime.now(UTC))
        told = messages.rejection(refused.id, QUERIES, INVALID, refused.reasons, record, now)
        return self._topics.rejected, (refused.id or "").encode(), messages.encode(told)


def now_milliseconds() -> int:
    """The clock as Kafka's timestamps have it."""
    return time.time_ns() // 1_000_000


def _note(failed: list[str], error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        failed.append(error.str())


def _usable(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise KafkaException(error)
    log.warning("prepared queries: %s", error.str())
    return False


def _begin(consumer: Consumer, committed: TopicPartition) -> int:
    """Where reading of a partition begins: at what was committed, else at its beginning."""
    low, _ = consumer.get_watermark_offsets(TopicPartition(committed.topic, committed.partition), METADATA_SECONDS)
    return max(int(low), int(committed.offset))


def _after(taken: Sequence[Message]) -> list[TopicPartition]:
    """The offsets to go on from."""
    newest: dict[tuple[str, int], int] = {}
    for message in taken:
        partition, offset = place_of(message)
        newest[str(message.topic()), partition] = offset + 1
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in newest.items()]


def _lag(consumer: Consumer) -> int:
    """How many queries wait behind those taken, by what the client knows without asking."""
    waiting = 0
    for place in consumer.position(consumer.assignment()):
        known = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), cached=True)
        waiting += max(0, int(known[1]) - int(place.offset)) if place.offset >= 0 else 0
    return waiting
