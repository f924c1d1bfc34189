"""Queries over Kafka: prepared queries in, predictions out, each query answered once.

Delivery is at least once; a query's identity is the subject's id and the prediction time, and identities answered
within the horizon are remembered: read back from the predictions topic whenever partitions are assigned, so also after
a crash and when another worker takes over. Offsets are committed after the brokers have the predictions. It does not
know how a query was prepared.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from numpy.typing import NDArray

from include.features.spec import Reference
from include.locations import Topics
from include.streaming import messages
from include.streaming.messages import INVALID, PreparedQuery
from speed_service.champion import Champion
from speed_service.kafka import CONNECTION_BACKOFF, METADATA_SECONDS, POLL_SECONDS, PROMPT
from speed_service.prediction_log import prediction_messages
from speed_service.predictor import predict
from speed_service.queries import Query, check_subject
from speed_service.service import Service
from speed_service.telemetry import precise

log = logging.getLogger(__name__)

MOST_TOGETHER = 256
MOST_REMEMBERED = 2_000_000
READ_SECONDS = 30.0
SOURCE = "queries"

Identity = tuple[str, int]
Out = tuple[str, bytes, bytes]


class Answered:
    """The identities answered within the horizon, oldest first; bounded."""

    def __init__(self, horizon_seconds: float) -> None:
        self._horizon = horizon_seconds
        self._times: OrderedDict[Identity, float] = OrderedDict()

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._times

    def __len__(self) -> int:
        return len(self._times)

    def add(self, identities: Iterable[Identity], now: float) -> None:
        """Remember identities answered at ``now`` (seconds), and forget those beyond the horizon."""
        for identity in identities:
            self._times[identity] = now
            self._times.move_to_end(identity)
        while self._times and (
            len(self._times) > MOST_REMEMBERED or next(iter(self._times.values())) < now - self._horizon
        ):
            self._times.popitem(last=False)


class _LoggedIdentity(msgspec.Struct):
    """What identifies an answer on the predictions topic; the rest is not looked at."""

    id: str
    prediction_time: datetime
    via: str

    @property
    def identity(self) -> Identity:
        return self.id, int(self.prediction_time.timestamp())


_prepared_decoder = msgspec.json.Decoder(PreparedQuery)
_logged_decoder = msgspec.json.Decoder(_LoggedIdentity)


def read_prepared(value: bytes | None, service: Service) -> tuple[Query, PreparedQuery] | list[str]:
    """A message of the prepared queries' topic, checked like a subject over HTTP, or the reasons to reject it."""
    try:
        prepared = _prepared_decoder.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [f"message: is no prepared query: {error}"]
    judged = check_subject(prepared.subject, service.use_case)
    if isinstance(judged, Query):
        return judged, prepared
    return [f"{field or 'subject'}: {why}" for field, why in judged]


def joined_columns(
    prepared: Sequence[PreparedQuery], references: Sequence[Reference], champion: Champion
) -> dict[str, NDArray[Any]] | None:
    """The reference columns that came with the queries; None if any of them is not of the champion's tables."""
    if any(dict(query.reference_versions) != dict(champion.reference_versions) for query in prepared):
        return None
    columns: dict[str, NDArray[Any]] = {}
    for reference in references:
        for name, kind in reference.columns.items():
            column = f"{reference.name}_{name}"
            values = [query.references.get(column) for query in prepared]
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
        self._answered = Answered(service.config.query_horizon_seconds)
        self._failed: list[str] = []

    def run(self) -> None:
        """Wait for a champion and for the streamed tiles, then answer; a broker that is away is waited for."""
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

    def _answer_all(self) -> None:
        consumer, producer = self._consumer(), self._producer()
        try:
            consumer.subscribe([self._topics.prepared_queries], on_assign=self._on_assign)
            while not self._stop.is_set():
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._answer(consumer, producer, [first, *consumer.consume(MOST_TOGETHER - 1, timeout=0)])
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        settings = {
            "bootstrap.servers": self._service.config.kafka.bootstrap,
            "group.id": f"{self._service.use_case.name}.predictor",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10_000,
            **PROMPT,
            **CONNECTION_BACKOFF,
        }
        return Consumer(settings, logger=log)

    def _producer(self) -> Producer:
        settings = {
            "bootstrap.servers": self._service.config.kafka.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 0,
            "message.timeout.ms": 300_000,
            **CONNECTION_BACKOFF,
        }
        return Producer(settings, logger=log)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """Before anything of new partitions is answered: what has been answered of them already?"""
        began = time.monotonic()
        now = time.time()
        since = now - self._service.config.query_horizon_seconds
        for value in read_since(self._service.config.kafka.bootstrap, self._topics.predictions, since):
            try:
                logged = _logged_decoder.decode(value)
            except msgspec.DecodeError:
                continue  # nobody's answer
            if logged.via == "kafka":
                self._answered.add([logged.identity], now)
        log.info(
            "%d partitions of queries; %d answers of the horizon read back in %.1f s",
            len(partitions),
            len(self._answered),
            time.monotonic() - began,
        )

    def _answer(self, consumer: Consumer, producer: Producer, taken: Sequence[Message]) -> None:
        """Answer what was taken, and commit it once the brokers have the answers."""
        began = time.perf_counter()
        good = [message for message in taken if _usable(message)]
        values = [_bytes(message.value()) for message in good]
        out, identities = self._judged(values)
        for topic, key, value in out:
            producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
        producer.flush(READ_SECONDS * 20)
        if self._failed or len(producer):
            raise DeliveryFailed(self._failed.pop() if self._failed else "no answer in time")
        self._answered.add(identities, time.time())
        telemetry = self._service.telemetry
        telemetry.kafka_latency.observe(time.perf_counter() - began)
        if good:
            consumer.commit(offsets=_after(good), asynchronous=True)
            telemetry.query_lag.set(_lag(consumer, good))

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _judged(self, values: Sequence[bytes]) -> tuple[list[Out], list[Identity]]:
        """What to send, and the identities that this answers."""
        out: list[Out] = []
        queries: list[Query] = []
        prepared: list[PreparedQuery] = []
        identities: dict[Identity, None] = {}
        for value in values:
            read = read_prepared(value, self._service)
            if isinstance(read, list):
                out.append(self._rejection(value, read))
                continue
            identity = (read[0].id, read[0].prediction_seconds)
            if identity in self._answered or identity in identities:
                self._service.telemetry.duplicates.inc()
                continue
            identities[identity] = None
            queries.append(read[0])
            prepared.append(read[1])
        return [*out, *self._predictions(queries, prepared)], list(identities)

    def _predictions(self, queries: Sequence[Query], prepared: Sequence[PreparedQuery]) -> Iterator[Out]:
        champion, use_case = self._service.champion, self._service.use_case
        if not queries or champion is None:
            return
        joined = joined_columns(prepared, use_case.features.references, champion)
        try:
            predicted = predict(use_case, champion, self._service.history, queries, joined)
        except Exception:
            if len(queries) == 1:  # this very query breaks it: told, so that it does not come again for ever
                log.exception("a query could not be answered")
                yield self._rejection(messages.encode(prepared[0]), ["subject: cannot be answered; see the log"])
                return
            for query, one in zip(queries, prepared, strict=True):
                yield from self._predictions([query], [one])
            return
        now = datetime.now(UTC)
        for key, value in prediction_messages(champion, predicted.answer, queries, predicted.columns, "kafka", now):
            yield self._topics.predictions, key, value
        self._service.note_answers(predicted.answer.predictions, queries)

    def _rejection(self, value: bytes, reasons: Sequence[str]) -> Out:
        self._service.telemetry.rejected.labels("invalid-query").inc()
        told = messages.rejection(
            None, SOURCE, INVALID, reasons, value.decode(errors="replace"), precise(datetime.now(UTC))
        )
        return self._topics.rejected, b"", messages.encode(told)


class DeliveryFailed(RuntimeError):
    """Kafka did not take the answers; the queries are not committed, and answered again."""


def _usable(message: Message) -> bool:
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise KafkaException(error)
    log.warning("prepared queries: %s", error.str())
    return False


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b""


def _after(taken: Sequence[Message]) -> list[TopicPartition]:
    """The offsets to go on from."""
    newest: Mapping[tuple[str, int], int] = {
        (str(message.topic()), int(message.partition() or 0)): int(message.offset() or 0) + 1 for message in taken
    }
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in newest.items()]


def _lag(consumer: Consumer, taken: Sequence[Message]) -> int:
    """How many queries wait behind the last one taken, by what the client knows without asking."""
    last = taken[-1]
    partition = TopicPartition(str(last.topic()), int(last.partition() or 0))
    _, high = consumer.get_watermark_offsets(partition, cached=True)
    return max(0, int(high) - int(last.offset() or 0) - 1)


def read_since(bootstrap: str, topic: str, since: float) -> Iterator[bytes]:
    """The values of a topic from a time (seconds since 1970) to its end as it is now; raises ``KafkaException``."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "unused-nothing-is-committed", "enable.auto.commit": False}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", **PROMPT}, logger=log)
    try:
        metadata = consumer.list_topics(topic, timeout=METADATA_SECONDS).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        times = [TopicPartition(topic, number, int(since * 1000)) for number in metadata.partitions]
        starts = consumer.offsets_for_times(times, timeout=METADATA_SECONDS)
        ends = {p.partition: consumer.get_watermark_offsets(p, METADATA_SECONDS)[1] for p in starts}
        open_ones = {p.partition for p in starts if 0 <= p.offset < ends[p.partition]}
        consumer.assign([p for p in starts if p.partition in open_ones])
        while open_ones:
            message = consumer.poll(READ_SECONDS)
            if message is None or message.error() is not None:
                raise KafkaException(message.error() if message is not None else KafkaError(KafkaError._TIMED_OUT))
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            if offset + 1 >= ends[partition]:
                open_ones.discard(partition)
            if message.value() is not None:
                yield _bytes(message.value())
    finally:
        consumer.close()
