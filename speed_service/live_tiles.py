"""The streamed tiles as they come in: the newest value of each, how far each source has come, and the history of both.

Updates are applied many at a time; a new ``History`` is made and handed on whole. It does not know how messages arrive
nor who uses the history.
"""

import logging
import threading
from array import array
from collections.abc import Callable, Iterable
from datetime import date

import msgspec
import numpy as np

from include.streaming import messages
from include.streaming.messages import TileUpdate, decode_tiles_message, minute_of
from include.tiles.kernel import TileIndex
from include.tiles.spec import MINUTES_PER_DAY
from include.use_case import UseCase
from speed_service.history import History, Progress, Published, day_of

log = logging.getLogger(__name__)


class LiveTiles:
    """Streamed tiles of days that batch has not published, of at most ``keep_days`` days before the newest of them."""

    def __init__(self, use_case: UseCase, keep_days: int) -> None:
        self.progress: dict[str, Progress] = {}
        self._tiles = use_case.tiles
        self._widths = {tile.name: len(tile.measures) for tile in use_case.tiles}
        self._keep = keep_days * MINUTES_PER_DAY
        self._minutes: dict[str, int] = {}
        self._clear()

    def _clear(self) -> None:
        """Hold no tile: their kinds, keys, minutes and values lie in columns, each tile's row in ``_rows``."""
        self._rows: dict[tuple[str, str, int], int] = {}
        self._kinds: list[str] = []
        self._keys: list[str] = []
        self._at = array("q")
        self._values: list[list[int | None]] = []
        self._index: TileIndex | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, values: Iterable[bytes]) -> None:
        """Take messages of the tiles topic, in order; one that is none is logged and left out."""
        for value in values:
            try:
                message = decode_tiles_message(value)
                if isinstance(message, TileUpdate):
                    self._update(message)
                else:
                    self._advance(message)
            except (msgspec.DecodeError, ValueError) as error:
                log.error("a message on the tiles topic is left out: %s", error)

    def index(self, published: frozenset[date]) -> TileIndex:
        """An index of the tiles that are held; those of published days, and those too old, are dropped for good."""
        self._drop(published)
        if self._index is None:
            self._index = TileIndex.build(self._tiles, self._kinds, self._keys, np.array(self._at), self._values)
        return self._index

    def _update(self, update: TileUpdate) -> None:
        width = self._widths.get(update.tile)
        if width is None:
            return  # of a later or an earlier version of the use case
        if len(update.values) != width:
            raise ValueError(f"tile {update.tile!r} has {width} measures, not {len(update.values)}")
        minute = self._minute(update.minute)
        self._put(update.tile, update.key, minute, update.values)

    def _put(self, kind: str, key: str, minute: int, values: list[int | None]) -> None:
        row = self._rows.setdefault((kind, key, minute), len(self._rows))
        if row < len(self._values):
            self._values[row] = values
        else:
            self._kinds.append(kind)
            self._keys.append(key)
            self._at.append(minute)
            self._values.append(values)
        self._index = None

    def _advance(self, message: messages.Progress) -> None:
        new = Progress(*map(self._minute, (message.since, message.closed, message.border)))
        known = self.progress.get(message.source)
        if known is None or new.border >= known.border:
            self.progress[message.source] = new

    def _minute(self, text: str) -> int:
        """``minute_of``, remembered: a poll's messages share a few minutes."""
        found = self._minutes.get(text)
        if found is None:
            if len(self._minutes) > MINUTES_PER_DAY:
                self._minutes.clear()
            found = self._minutes[text] = minute_of(text)
        return found

    def _drop(self, published: frozenset[date]) -> None:
        minutes = np.unique(np.array(self._at)).tolist()
        oldest = minutes[-1] - self._keep if minutes else 0
        gone = {minute for minute in minutes if minute <= oldest or day_of(minute) in published}
        if not gone:
            return
        rows = list(zip(self._kinds, self._keys, self._at, self._values, strict=True))
        self._clear()
        for kind, key, minute, values in rows:
            if minute not in gone:
                self._put(kind, key, minute, values)


class HistoryMaker:
    """Makes a history of what is published and what is streamed whenever either changes, and hands it to ``swap``."""

    def __init__(self, use_case: UseCase, keep_days: int, swap: Callable[[History], None]) -> None:
        self._use_case = use_case
        self._live = LiveTiles(use_case, keep_days)
        self._published = Published.nothing(use_case.tiles)
        self._swap = swap
        self._lock = threading.Lock()

    def on_published(self, published: Published) -> None:
        """Another version of the published tiles."""
        with self._lock:
            self._published = published
            self._make()

    def on_streamed(self, values: Iterable[bytes]) -> None:
        """More messages of the tiles topic, in order."""
        with self._lock:
            self._live.apply(values)
            self._make()

    def _make(self) -> None:
        live = self._live.index(self._published.days)
        self._swap(History(self._use_case, self._published, live, dict(self._live.progress)))
