"""The threads of one process of the service: they follow the ledger, the lake and Kafka, answer queries, send metrics.

All are daemons: a process that dies waits for none. One that is told to stop leaves its consumer group first, so that
another worker takes over its queries at once.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from include.bundle.store import ObjectStore
from include.locations import Topics
from speed_service.history import TilesTable
from speed_service.kafka import Sender, Tail
from speed_service.kafka_loop import QueryLoop
from speed_service.prediction_log import PredictionLog
from speed_service.service import Service
from speed_service.watcher import ModelWatcher, TilesWatcher

#: The log of answers over HTTP may come a little later, in fewer and smaller requests.
LOG_SETTINGS: Mapping[str, Any] = {"linger.ms": 50, "compression.type": "lz4"}


class Background:
    """Everything that runs beside the requests of one service."""

    def __init__(self, service: Service, store: ObjectStore, table: TilesTable) -> None:
        self._service = service
        self._stop = threading.Event()
        self._kafka, self._topics = service.config.kafka, Topics(service.use_case.name)
        self._sender = Sender(self._kafka, service.telemetry)
        self._log_sender = Sender(self._kafka, service.telemetry, **LOG_SETTINGS)
        self._models = ModelWatcher(service, store, self._stop)
        self._tiles = TilesWatcher(service, table, self._stop)
        self._queries = QueryLoop(service, self._stop)
        self._last: list[threading.Thread] = []

    def start(self) -> None:
        """Start every thread."""
        self._service.telemetry.send = self._sender
        targets = [self._follow_models, self._follow_batch_events, self._follow_tiles, self._tiles.follow, self._report]
        for target in targets:
            _start(target)
        self._last = [_start(self._queries.run)]
        if self._service.config.log_http:
            log = PredictionLog(
                self._topics.predictions, self._log_sender.patiently, self._service.telemetry.log_dropped
            )
            self._service.prediction_log = log
            self._last.append(_start(lambda: log.follow(self._stop)))

    def end(self, seconds: float = 3.0) -> None:
        """Stop, and wait so long for queries at hand to be answered and for what is logged to be sent."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._last:
            thread.join(max(0.0, deadline - time.monotonic()))
        for sender in (self._sender, self._log_sender):
            sender.flush(max(0.0, deadline - time.monotonic()))

    def _follow_models(self) -> None:
        self._models.start_from_ledger()
        self._tail(self._topics.models, True).follow(self._models.on_broadcasts, self._retry)

    def _follow_batch_events(self) -> None:
        self._tail(self._topics.batch_events, False).follow(self._tiles.on_batch_events, self._retry)

    def _follow_tiles(self) -> None:
        self._tail(self._topics.tiles, True).follow(self._tiles.on_tiles, self._retry, self._tiles.on_tiles_read)

    def _report(self) -> None:
        while not self._stop.wait(self._service.config.metrics_seconds):
            self._service.note_freshness()
            self._service.telemetry.publish_runtime()
            for sender in (self._sender, self._log_sender):
                sender.poll()

    def _tail(self, topic: str, from_beginning: bool) -> Tail:
        return Tail(self._kafka, topic, from_beginning, self._stop)

    @property
    def _retry(self) -> float:
        return self._service.config.retry_seconds


def _start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=target.__qualname__, daemon=True)
    thread.start()
    return thread
