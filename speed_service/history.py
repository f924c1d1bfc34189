"""The tiles that the batch layer has published, as held in memory: which days, and an index per kind of tile.

Until the speed layer streams tiles, this is all that the service knows of the world. A ``History`` never changes;
a newer one replaces it whole. ``as_of`` and ``degraded`` follow from the days it holds. No Kafka here, no HTTP.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include.tiles.kernel import TileIndex, build_indexes
from include.tiles.spec import Tile, Window
from include.use_case import UseCase

TILE_ROWS = pa.schema(
    [
        ("tile", pa.string()),
        ("key", pa.string()),
        ("minute", pa.timestamp("us", tz="UTC")),
        ("values", pa.list_(pa.int64())),
    ]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class History:
    """Published days (UTC) and the tiles of each kind; ``version`` is the tiles table's, -1 for none."""

    version: int
    days: frozenset[date]
    indexes: Mapping[str, TileIndex]
    rows: int = 0
    end: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", _end(max(self.days)) if self.days else None)

    def as_of(self, prediction_time: datetime) -> datetime | None:
        """The border up to which facts were visible at ``prediction_time`` (aware, UTC); None when no day was."""
        minute = prediction_time.replace(second=0, microsecond=0)
        if (minute - timedelta(microseconds=1)).date() in self.days:
            return minute
        before = [day for day in self.days if day < minute.date()]
        return _end(max(before)) if before else None

    def covers(self, first: date, as_of: datetime) -> bool:
        """Whether every day from ``first`` to the border ``as_of`` is held, so that no window has a hole."""
        last = (as_of - timedelta(microseconds=1)).date()
        return all(first + timedelta(days=n) in self.days for n in range((last - first).days + 1))


@dataclass(frozen=True)
class Visible:
    """What one prediction could see of one source: the border of its last tile, and whether that is too little."""

    as_of: datetime | None
    degraded: bool


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def spans(windows: tuple[Window, ...]) -> dict[str, int]:
    """The longest window over each source, in minutes: the sources that the features look at."""
    longest: dict[str, int] = {}
    for window in windows:
        source = window.tile.source
        longest[source] = max(longest.get(source, 0), window.span_minutes)
    return longest


def visible(history: History, use_case: UseCase, prediction_time: datetime) -> dict[str, Visible]:
    """Per source that the windows use, what was visible at ``prediction_time`` (aware, UTC)."""
    as_of = history.as_of(prediction_time)
    return {
        source: Visible(as_of, _degraded(history, use_case, source, span, as_of, prediction_time))
        for source, span in spans(use_case.features.windows).items()
    }


def _degraded(
    history: History, use_case: UseCase, source: str, span: int, as_of: datetime | None, prediction_time: datetime
) -> bool:
    if as_of is None:
        return True
    silence = use_case.silence_minutes.get(source)
    if silence is not None and prediction_time - as_of > timedelta(minutes=silence):
        return True
    minute = prediction_time.replace(second=0, microsecond=0)
    first = max((minute - timedelta(minutes=span)).date(), use_case.history_start)
    return not history.covers(first, as_of)


def empty_history(tiles: tuple[Tile, ...]) -> History:
    """Nothing published yet: every window is empty."""
    return history_from_table(TILE_ROWS.empty_table(), tiles, frozenset(), -1)


def history_from_table(rows: pa.Table, tiles: tuple[Tile, ...], days: frozenset[date], version: int) -> History:
    """Index rows of the tiles table (columns of ``TILE_ROWS``), and compute what lookups need, before any request."""
    indexes = build_indexes(tiles, rows)
    for index in indexes.values():
        _ = index.totals, index.maxima
    return History(version, days, indexes, rows.num_rows)


class TilesTable:
    """The published tiles table on S3 (or a local path), read with delta-rs; keeps the table's log between reads."""

    def __init__(self, path: str, storage_options: dict[str, str], tiles: tuple[Tile, ...], keep_days: int) -> None:
        self._path = path
        self._options = storage_options
        self._tiles = tiles
        self._keep_days = keep_days
        self._table: DeltaTable | None = None

    def version(self) -> int | None:
        """The newest version, from the table's log alone; None while there is no table."""
        try:
            if self._table is None:
                self._table = DeltaTable(self._path, storage_options=self._options)
            else:
                self._table.update_incremental()
        except TableNotFoundError:
            return None
        return self._table.version()

    def read(self) -> History:
        """The newest ``keep_days`` published days; raises what delta-rs raises when storage is away."""
        if self.version() is None or self._table is None:
            return empty_history(self._tiles)
        days = sorted({row["ds"] for row in self._table.partitions()})[-self._keep_days :]
        wanted = [("ds", "in", days)]
        rows = (
            self._table.to_pyarrow_dataset(file_pruning_predicate=wanted).to_table(columns=TILE_ROWS.names)
            if days
            else None
        )
        rows = TILE_ROWS.empty_table() if rows is None else rows
        held = frozenset(date.fromisoformat(day) for day in days)
        log.info("tiles version %s: %s rows of %s days", self._table.version(), rows.num_rows, len(held))
        return history_from_table(rows, self._tiles, held, self._table.version())
