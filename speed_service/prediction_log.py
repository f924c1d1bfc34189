"""Answers as messages of the predictions topic, with the features they were made from, and the log of those over HTTP.

Every answer over Kafka is such a message. An answer over HTTP is logged beside it: taken in a moment, encoded and sent
by a thread; when that cannot follow, entries are dropped and counted rather than answers delayed.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from prometheus_client import Counter

from speed_service.champion import Champion
from speed_service.columns import Columns
from speed_service.predictor import Answer
from speed_service.queries import Query
from speed_service.telemetry import Send, precise, rfc3339

log = logging.getLogger(__name__)

Via = Literal["kafka", "http"]
#: Answers that may wait to be logged; each may be to a whole request.
MOST_WAITING = 2000
_encoder = msgspec.json.Encoder()


def prediction_messages(
    champion: Champion, answer: Answer, queries: Sequence[Query], columns: Columns, via: Via, predicted_at: datetime
) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each prediction, in the order of the queries; a missing number is null."""
    at, names = precise(predicted_at), list(columns)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    for query, prediction, features in zip(queries, answer.predictions, rows, strict=True):
        message = {
            "id": prediction.id,
            "model_id": answer.model_id,
            "sequence": champion.sequence,
            "probability": prediction.probability,
            "as_of": prediction.as_of,
            "degraded": prediction.degraded,
            "prediction_time": rfc3339(query.prediction_time),
            "predicted_at": at,
            "via": via,
            "features": dict(zip(names, features, strict=True)),
            "features_hash": champion.bundle.features_hash,
        }
        yield prediction.id.encode(), _encoder.encode(message)


class PredictionLog:
    """Logs answers over HTTP from a thread of its own."""

    def __init__(self, topic: str, send: Send, dropped: Counter) -> None:
        self._topic = topic
        self._send = send
        self._dropped = dropped
        self._waiting: queue.Queue[tuple[Champion, Answer, Sequence[Query], Columns, datetime]] = queue.Queue(
            MOST_WAITING
        )

    def add(self, champion: Champion, answer: Answer, queries: Sequence[Query], columns: Columns) -> None:
        """Note an answer; never waits."""
        try:
            self._waiting.put_nowait((champion, answer, queries, columns, datetime.now(UTC)))
        except queue.Full:
            self._dropped.inc(len(queries))

    def follow(self, stop: threading.Event) -> None:
        """Send what is noted until stopped."""
        while not stop.is_set():
            try:
                champion, answer, queries, columns, at = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            try:
                for key, value in prediction_messages(champion, answer, queries, columns, "http", at):
                    self._send(self._topic, key, value)
            except Exception:  # one entry's fault; the log goes on
                log.exception("an answer could not be logged")
                self._dropped.inc(len(queries))
