"""What changes the model and the tiles under a running service, as it follows the ledger, Kafka and the lake.

A broadcast is a door bell: what is loaded is what the ledger says, so a message alone promotes nothing. A bundle is
loaded, verified and warmed beside the running one, then swapped in by one assignment; one that fails leaves the old
one in place. Nothing here runs in a request.
"""

import logging
import math
import threading
from collections.abc import Callable, Sequence

import msgspec

from include.bundle.store import ObjectStore
from include.ledger import Entry, champion
from speed_service.champion import BundleRejected, Champion, load_champion
from speed_service.history import TilesTable
from speed_service.live_tiles import HistoryMaker
from speed_service.openapi import example_subject
from speed_service.predictor import predict
from speed_service.queries import Query, check_subject
from speed_service.service import Service

log = logging.getLogger(__name__)


class Broadcast(msgspec.Struct):
    """The part of a message on ``<use_case>.models`` that the service reads; the rest is for others."""

    event: str
    model_id: str
    sequence: int
    run_id: str = ""


def warm(service: Service, champion: Champion) -> None:
    """Answer one query with a champion before it is served; raises ``BundleRejected`` if it cannot."""
    try:
        query = check_subject(example_subject(service.use_case), service.use_case)
        assert isinstance(query, Query), query
        answer = predict(service.use_case, champion, service.history, [query]).answer.predictions[0].answer
    except Exception as error:
        raise BundleRejected(f"it cannot answer: {type(error).__name__}: {error}") from error
    target = service.use_case.target
    if champion.bundle.predictor.target.kind != target.kind:
        raise BundleRejected(f"it answers a {champion.bundle.predictor.target.answer}, not a {target.answer}")
    if not 0.0 <= answer <= (math.inf if target.highest is None else target.highest) or math.isinf(answer):
        raise BundleRejected(f"it answers {answer}, which is no {target.answer}")


class ModelWatcher:
    """Keeps ``service.champion`` at what the ledger names."""

    def __init__(self, service: Service, store: ObjectStore, stop: threading.Event) -> None:
        self._service = service
        self._store = store
        self._stop = stop

    def start_from_ledger(self) -> None:
        """Load the champion of the ledger, if there is one; tries again while storage is away."""
        self._retry(self._follow_ledger)

    def on_broadcasts(self, values: Sequence[bytes]) -> None:
        """Broadcasts in the order of the topic; one that is none is told and left out."""
        for value in values:
            try:
                self.on_broadcast(value)
            except msgspec.DecodeError as error:
                log.error("a message on the models topic is left out: %s", error)

    def on_broadcast(self, value: bytes) -> None:
        """Bring in what a broadcast announced and send its receipt; the same one again gets its receipt again."""
        broadcast = msgspec.json.decode(value, type=Broadcast)
        current = self._service.champion
        if current is not None and broadcast.sequence < current.sequence:
            return
        self._retry(lambda: self._receive(broadcast))

    def _receive(self, broadcast: Broadcast) -> None:
        current = self._service.champion
        if current is None or broadcast.sequence > current.sequence:
            current = self._follow_ledger(broadcast)
        if current is not None and current.sequence == broadcast.sequence:
            self._send_receipt(current, broadcast)

    def _follow_ledger(self, broadcast: Broadcast | None = None) -> Champion | None:
        entry = champion(self._store, self._service.use_case.name)
        if entry is None and broadcast is None:
            self._service.model_unreadable("no model has been promoted yet")
        if entry is None or (broadcast is not None and entry.sequence < broadcast.sequence):
            if broadcast is not None:
                self._reject(broadcast.model_id, broadcast.sequence, broadcast.run_id, "the ledger has no such line")
            return None
        try:
            loaded = load_champion(self._store, self._service.use_case, entry)
            warm(self._service, loaded)
        except BundleRejected as error:
            self._reject(entry.model_id, entry.sequence, _run_id(entry, broadcast), str(error))
            return None
        self._service.swap_champion(loaded)
        return loaded

    def _send_receipt(self, current: Champion, broadcast: Broadcast) -> None:
        fields = {"model_id": current.model_id, "sequence": current.sequence}
        self._service.telemetry.publish(
            "model_loaded", fields, f"{current.sequence}|{current.model_id}", broadcast.run_id
        )

    def _reject(self, model_id: str, sequence: int, run_id: str, why: str) -> None:
        log.error("model %s (ledger line %s) is rejected: %s", model_id, sequence, why)
        self._service.model_rejected(f"model {model_id} was rejected: {why}")
        fields = {"model_id": model_id, "sequence": sequence, "reason": why}
        self._service.telemetry.publish("model_rejected", fields, f"{sequence}|{model_id}|{why}", run_id)

    def _retry(self, attempt: Callable[[], object]) -> None:
        while not self._stop.is_set():
            try:
                attempt()
                return
            except Exception as error:  # storage is away: what went wrong is told, and tried again
                log.warning("the model could not be read, trying again: %s", error)
                self._service.model_unreadable(f"the model could not be read: {type(error).__name__}")
            self._stop.wait(self._service.config.retry_seconds)


def _run_id(entry: Entry, broadcast: Broadcast | None) -> str:
    return broadcast.run_id if broadcast is not None and broadcast.sequence == entry.sequence else entry.run_id


class TilesWatcher:
    """Keeps ``service.history`` at the newest version of the published tiles table, and at what has been streamed."""

    def __init__(self, service: Service, table: TilesTable, stop: threading.Event) -> None:
        self._service = service
        self._table = table
        self._maker = HistoryMaker(service.use_case, service.config.tile_days, service.swap_history)
        self._version: int | None = None
        self._stop = stop
        self._bell = threading.Event()

    def on_batch_events(self, _values: Sequence[bytes]) -> None:
        """A day was published: look now instead of at the next poll."""
        self._bell.set()

    def on_tiles(self, values: Sequence[bytes]) -> None:
        """Tiles and progress were streamed."""
        self._maker.on_streamed(values)

    def on_tiles_read(self) -> None:
        """What had been streamed before the start has been read, or there is no such topic yet."""
        self._maker.on_caught_up()
        self._service.stream_read()

    def follow(self) -> None:
        """Look for a newer version until stopped: at once when the bell rings, otherwise at every poll."""
        while not self._stop.is_set():
            self._bell.clear()
            try:
                self.refresh()
            except Exception as error:  # storage is away: the tiles at hand stay, and as_of says how old they are
                log.warning("the tiles could not be read, trying again: %s", error)
                self._service.tiles_unreadable(f"the tiles could not be read: {type(error).__name__}")
            self._bell.wait(self._service.config.tile_poll_seconds)

    def refresh(self) -> None:
        """Swap in the newest published tiles, if they are newer than those held."""
        version = self._table.version()
        if version is None:
            self._service.tiles_unreadable("no tiles have been published yet")
        elif version != self._version:
            published = self._table.read()
            self._maker.on_published(published)
            self._version = published.version
