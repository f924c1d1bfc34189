"""Answers as messages of the predictions topic, with the features they were made from, and the log of those over HTTP.

Every answer over Kafka is such a message. An answer over HTTP is logged beside it: taken in a moment, encoded and sent
by a thread; when that cannot follow, entries are dropped and counted rather than answers delayed.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import msgspec
from prometheus_client import Counter

from speed_service.champion import Champion
from speed_service.columns import Columns
from speed_service.predictor import Answer, called
from speed_service.queries import Query
from speed_service.telemetry import precise, rfc3339

log = logging.getLogger(__name__)

Via = Literal["kafka", "http"]
"""How a query came."""

#: Subjects whose answers may wait to be logged, each with some 60 features.
MOST_WAITING = 20_000
#: After so many messages the thread lets those that answer requests go first.
MESSAGES_AT_ONCE = 16
IDLE_SECONDS = 0.5
_encoder = msgspec.json.Encoder()

Put = Callable[[str, bytes, bytes, threading.Event], None]
"""Sends ``(topic, key, value)``, waiting for room until the event is set."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A prediction as it travels (see ``docs/schemas``); ``as_of`` and ``features`` map names to values.

    ``answer`` has the target's name for it (see ``called``).
    """

    id: str
    answer: float
    as_of: Mapping[str, str | None]
    degraded: bool
    prediction_time: str
    predicted_at: str
    via: Via
    model_id: str
    sequence: int
    features: msgspec.Struct
    features_hash: str


@lru_cache
def _features_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """A struct of these features: made and encoded in a third of a dict's time."""
    return msgspec.defstruct("features", [(name, Any) for name in names], frozen=True, gc=False)


def prediction_messages(
    champion: Champion, answer: Answer, queries: Sequence[Query], columns: Columns, via: Via, predicted_at: datetime
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each prediction, in the order of the queries; a missing number is null."""
    at, features_hash = precise(predicted_at), champion.bundle.features_hash
    rows = map(_features_type(tuple(columns)), *(column.tolist() for column in columns.values()))
    times = {query.prediction_seconds: query.prediction_time for query in queries}
    texts = {seconds: rfc3339(time) for seconds, time in times.items()}
    message_of = called(Message, champion.bundle.predictor.target.answer)
    for query, prediction, features in zip(queries, answer.predictions, rows, strict=True):
        message = message_of(
            id=prediction.id,
            answer=prediction.answer,
            as_of=prediction.as_of,
            degraded=prediction.degraded,
            prediction_time=texts[query.prediction_seconds],
            predicted_at=at,
            via=via,
            model_id=answer.model_id,
            sequence=champion.sequence,
            features=features,
            features_hash=features_hash,
        )
        yield prediction.id.encode(), _encoder.encode(message)


@dataclass(frozen=True)
class Entry:
    """Answers that were given together, and all that their messages need."""

    champion: Champion
    answer: Answer
    queries: Sequence[Query]
    columns: Columns
    at: datetime

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each."""
        return prediction_messages(self.champion, self.answer, self.queries, self.columns, "http", self.at)


class PredictionLog:
    """Logs answers over HTTP from a thread of its own."""

    def __init__(self, topic: str, put: Put, dropped: Counter, most: int = MOST_WAITING) -> None:
        self._topic = topic
        self._put = put
        self._dropped = dropped
        self._most = most
        self._entries: deque[Entry] = deque()
        self._subjects = 0
        self._lock = threading.Lock()
        self._bell = threading.Event()

    def add(self, champion: Champion, answer: Answer, queries: Sequence[Query], columns: Columns) -> None:
        """Note answers; never waits for anything slow."""
        with self._lock:
            room = self._subjects + len(queries) <= self._most
            if room:
                self._subjects += len(queries)
        if not room:
            self._dropped.inc(len(queries))
            return
        self._entries.append(Entry(champion, answer, queries, columns, datetime.now(UTC)))
        self._bell.set()

    def follow(self, stop: threading.Event) -> None:
        """Send what is noted until stopped, and then what is left."""
        while not stop.is_set():
            if self._bell.wait(IDLE_SECONDS):
                self._bell.clear()
                self._send_noted(stop)
        self._send_noted(stop)

    def _send_noted(self, stop: threading.Event) -> None:
        while self._entries:
            entry = self._entries.popleft()
            try:
                self._send(entry, stop)
            except Exception:  # one entry's fault; the log goes on
                log.exception("answers could not be logged")
                self._dropped.inc(len(entry.queries))
            with self._lock:
                self._subjects -= len(entry.queries)

    def _send(self, entry: Entry, stop: threading.Event) -> None:
        for number, (key, value) in enumerate(entry.messages(), 1):
            self._put(self._topic, key, value, stop)
            if number % MESSAGES_AT_ONCE == 0:
                time.sleep(0)
