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
from numpy.typing import NDArray

from include.streaming import messages
from include.streaming.messages import TileUpdate, decode_tiles_message, minute_of
from include.tiles.kernel import NULL, Integers, TileIndex
from include.tiles.spec import MINUTES_PER_DAY
from include.use_case import UseCase
from speed_service.history import History, Progress, Published, day_of, day_start

#: So many more are read at a start before those too old are dropped.
MANY_TILES = 500_000

log = logging.getLogger(__name__)


class LiveTiles:
    """Streamed tiles of days that batch has not published, of at most ``keep_days`` days before the newest of them.

    They lie in growing arrays of numbers, a tile's row in ``_rows``, so that an index of all of them is made in a few
    milliseconds, most of them outside of Python.
    """

    def __init__(self, use_case: UseCase, keep_days: int) -> None:
        self.progress: dict[str, Progress] = {}
        self._tiles = use_case.tiles
        self._kinds = {tile.name: (number, len(tile.measures)) for number, tile in enumerate(use_case.tiles)}
        self._width = max((len(tile.measures) for tile in use_case.tiles), default=0)
        self._keep = keep_days * MINUTES_PER_DAY
        self._minutes: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._rows: dict[tuple[int, int, int], int] = {}
        self._kind, self._key, self._minute, self._measures = (array("q") for _ in range(4))
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
            except (msgspec.DecodeError, ValueError, OverflowError) as error:
                log.error("a message on the tiles topic is left out: %s", error)

    def index(self, published: frozenset[date]) -> TileIndex:
        """An index of the tiles that are held; those of published days, and those too old, are dropped for good."""
        kind, key, minute, measures = self.let_go(published)
        if self._index is None:
            self._index = TileIndex.of_numbers(self._tiles, dict(self._numbers), kind, key, minute, measures)
        return self._index

    def let_go(self, published: frozenset[date]) -> tuple[Integers, Integers, Integers, Integers]:
        """Drop the tiles of published days, and those too old; what is left as columns."""
        kind, key, minute = (np.array(column, dtype=np.int64) for column in (self._kind, self._key, self._minute))
        measures = np.array(self._measures, dtype=np.int64).reshape(-1, self._width)
        kept = self._kept(minute, published)
        if not kept.all():
            kind, key, minute, measures = (column[kept] for column in (kind, key, minute, measures))
            self._replace(kind, key, minute, measures)
        return kind, key, minute, measures

    def _update(self, update: TileUpdate) -> None:
        number, width = self._kinds.get(update.tile, (0, 0))
        if not width:
            return  # of a later or an earlier version of the use case
        if len(update.values) != width:
            raise ValueError(f"tile {update.tile!r} has {width} measures, not {len(update.values)}")
        key = self._numbers.setdefault(update.key, len(self._numbers))
        measures = array("q", [NULL if value is None else value for value in update.values])
        measures.extend([NULL] * (self._width - width))
        self._put(number, key, self._minute_of(update.minute), measures)

    def _put(self, kind: int, key: int, minute: int, measures: "array[int]") -> None:
        row = self._rows.setdefault((kind, key, minute), len(self._minute))
        if row < len(self._minute):
            self._measures[row * self._width : (row + 1) * self._width] = measures
        else:
            self._kind.append(kind)
            self._key.append(key)
            self._minute.append(minute)
            self._measures.extend(measures)
        self._index = None

    def _kept(self, minute: Integers, published: frozenset[date]) -> NDArray[np.bool_]:
        """Which tiles, by their minutes, are neither of a published day nor too old.

        Too old by where the sources have come, as far as they say: a fact that is dated years ahead ages nothing.
        """
        days = minute // MINUTES_PER_DAY
        gone = [day for day in np.unique(days).tolist() if day_of(day * MINUTES_PER_DAY) in published]
        kept: NDArray[np.bool_] = minute >= self.oldest(minute.max(initial=0))
        return kept & ~np.isin(days, gone) if gone else kept

    def oldest(self, newest: int = 0) -> int:
        """The first minute whose tiles are kept; ``newest`` tile's minute: where no source says how far it is."""
        now = max((progress.border for progress in self.progress.values()), default=newest)
        return now - self._keep + 1

    def _replace(self, kind: Integers, key: Integers, minute: Integers, measures: Integers) -> None:
        """Hold these tiles and no others."""
        self._kind, self._key, self._minute, self._measures = (
            array("q", column.tobytes()) for column in (kind, key, minute, measures)
        )
        tiles = zip(kind.tolist(), key.tolist(), minute.tolist(), strict=True)
        self._rows = {tile: row for row, tile in enumerate(tiles)}
        self._index = None

    def _advance(self, message: messages.Progress) -> None:
        new = Progress(*map(self._minute_of, (message.since, message.closed, message.border)))
        known = self.progress.get(message.source)
        if known is None or new.border >= known.border:
            self.progress[message.source] = new

    def _minute_of(self, text: str) -> int:
        """``minute_of``, remembered: a poll's messages share a few minutes."""
        found = self._minutes.get(text)
        if found is None:
            if len(self._minutes) > MINUTES_PER_DAY:
                self._minutes.clear()
            found = self._minutes[text] = minute_of(text)
        return found


class HistoryMaker:
    """Makes a history of what is published and what is streamed whenever either changes, and hands it to ``swap``.

    What had been streamed before the start is handed on when all of it has been read.
    """

    def __init__(self, use_case: UseCase, keep_days: int, swap: Callable[[History], None]) -> None:
        self._use_case = use_case
        self._live = LiveTiles(use_case, keep_days)
        self._keep_days = keep_days
        self._most = MANY_TILES
        self._published = Published.nothing(use_case.tiles)
        self._caught_up = False
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
            if self._caught_up:
                self._make()
            elif len(self._live) > self._most:
                # A topic may hold more than is kept: of a year that was replayed within its retention, say.
                self._live.let_go(self._published.days)
                self._most = 2 * len(self._live) + MANY_TILES

    def on_caught_up(self) -> None:
        """What was on the tiles topic at the start has been handed over."""
        with self._lock:
            self._caught_up = True
            self._make()

    def _make(self) -> None:
        live = self._live.index(self._published.days)
        progress = dict(self._live.progress) if self._caught_up else {}
        self._swap(History(self._use_case, self._published, live, progress, self._held()))

    def _held(self) -> int:
        """The minute from which on every streamed tile is held, in one index or the other."""
        days = self._published.days
        # Of days that were published streamed tiles were let go of, and of those only the newest are read again.
        first = day_start(min(days)) if len(days) >= self._keep_days else 0
        return max(self._live.oldest(), first)
