"""What the service knows of the past: the days that batch has published, the tiles streamed since, how far each goes.

A ``History`` never changes; a newer one replaces it whole. Per source the published days and the streamed span make up
*stretches* of minutes about which everything visible is known; ``as_of`` and ``degraded`` of a prediction time follow
from them alone, so that a replay of past days gives what it would have given then. No Kafka here, no HTTP.
"""

import logging
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include.streaming.messages import minute_text
from include.tiles.kernel import TileIndex
from include.tiles.spec import MINUTES_PER_DAY, Tile, Window
from include.use_case import UseCase

TILE_ROWS = pa.schema(
    [
        ("tile", pa.string()),
        ("key", pa.string()),
        ("minute", pa.timestamp("us", tz="UTC")),
        ("values", pa.list_(pa.int64())),
    ]
)
EPOCH = date(1970, 1, 1)
#: Until when a source was seen of which nothing was: no tile lies before it.
NOTHING_SEEN = 0
#: Prediction times (minutes) whose ``Seen`` one history remembers.
SEEN_REMEMBERED = 4096

log = logging.getLogger(__name__)

#: Minutes since 1970 (UTC): the first, and the one after the last.
Stretch = tuple[int, int]


def day_start(day: date) -> int:
    """The first minute of a day (UTC), since 1970."""
    return (day - EPOCH).days * MINUTES_PER_DAY


def day_of(minute: int) -> date:
    """The day (UTC) of a minute since 1970."""
    return EPOCH + timedelta(days=minute // MINUTES_PER_DAY)


@dataclass(frozen=True, eq=False)
class Published:
    """The tiles of the batch layer: whole days (UTC). ``version`` is the tiles table's, -1 for none."""

    version: int
    days: frozenset[date]
    index: TileIndex

    @classmethod
    def nothing(cls, tiles: Sequence[Tile]) -> "Published":
        """No day at all."""
        return cls(-1, frozenset(), TileIndex.empty(tiles))


@dataclass(frozen=True)
class Progress:
    """How far the stream has come in one source, in minutes since 1970: see ``include.streaming.messages.Progress``."""

    since: int
    closed: int
    border: int


@dataclass(frozen=True)
class Seen:
    """What a prediction of one minute could see, by source that the windows use.

    Facts of minutes before ``until`` (since 1970; ``NOTHING_SEEN`` where there were none) were visible; ``as_of`` says
    the same as RFC 3339, or None. ``degraded``: some source lies too far behind, or a window over it has a hole.
    ``complete``: every source was seen right up to the minute itself.
    """

    until: Mapping[str, int]
    as_of: Mapping[str, str | None]
    degraded: bool
    complete: bool


@dataclass(frozen=True, eq=False)
class History:
    """Published days and streamed tiles (of other days), and the stream's progress by source.

    ``held``: the minute (since 1970) before which streamed tiles may have been let go of.
    """

    use_case: UseCase
    published: Published
    live: TileIndex
    progress: Mapping[str, Progress] = field(default_factory=dict)
    held: int = 0
    _spans: Mapping[str, int] = field(init=False, repr=False, compare=False)
    _stretches: Mapping[str, Sequence[Stretch]] = field(init=False, repr=False, compare=False)
    _remembered: dict[int, Seen] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        days = [(day_start(day), day_start(day) + MINUTES_PER_DAY) for day in self.published.days]
        object.__setattr__(self, "_spans", spans(self.use_case.features.windows))
        object.__setattr__(self, "_stretches", {name: self._stretches_of(name, days) for name in self._spans})

    @classmethod
    def empty(cls, use_case: UseCase) -> "History":
        """Nothing published, nothing streamed: every window is empty."""
        return cls(use_case, Published.nothing(use_case.tiles), TileIndex.empty(use_case.tiles))

    @property
    def indexes(self) -> tuple[TileIndex, ...]:
        """The tiles, in indexes that have none in common."""
        return self.published.index, self.live

    @property
    def version(self) -> int:
        """The version of the published tiles' table."""
        return self.published.version

    @property
    def days(self) -> frozenset[date]:
        """The published days (UTC)."""
        return self.published.days

    @property
    def end(self) -> datetime | None:
        """The end of the last published day; None without any."""
        return datetime.combine(max(self.days) + timedelta(days=1), time(), UTC) if self.days else None

    @property
    def rows(self) -> int:
        """How many tiles are held."""
        return sum(len(index) for index in self.indexes)

    def seen(self, minute: int) -> Seen:
        """What a prediction time in ``minute`` (since 1970) could see; remembered, since many predictions share it."""
        found = self._remembered.get(minute)
        if found is None:
            if len(self._remembered) >= SEEN_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[minute] = self._look(minute)
        return found

    def _look(self, minute: int) -> Seen:
        until: dict[str, int] = {}
        degraded = False
        for source, span in self._spans.items():
            stretch = _stretch_before(self._stretches[source], minute)
            until[source] = NOTHING_SEEN if stretch is None else min(minute, stretch[1])
            degraded = degraded or stretch is None or self._lacks(source, span, minute, stretch)
        as_of = {source: None if end == NOTHING_SEEN else minute_text(end) for source, end in until.items()}
        return Seen(until, as_of, degraded, all(end >= minute for end in until.values()))

    def _lacks(self, source: str, span: int, minute: int, stretch: Stretch) -> bool:
        """Whether the source lay silent for too long, or a window up to ``minute`` reaches beyond its stretch."""
        border = min(minute, stretch[1])
        silence = self.use_case.silence_minutes.get(source)
        if silence is not None and minute - border > silence:
            return True
        # Before the first fact of all there is nothing to know.
        first = max(minute - span, day_start(self.use_case.history_start))
        return first < min(stretch[0], border)

    def _stretches_of(self, source: str, days: list[Stretch]) -> Sequence[Stretch]:
        streamed = self.progress.get(source)
        if streamed is None:
            return joined(days)
        # What is announced days ahead may have become known before the stream began to look.
        known = streamed.since + self.use_case.source(source).announced_days * MINUTES_PER_DAY
        since = max(known, self.held)
        return joined([*days, *([(since, streamed.border)] if since < streamed.border else [])])


def spans(windows: Sequence[Window]) -> dict[str, int]:
    """The longest window over each source, in minutes: the sources that the features look at."""
    longest: dict[str, int] = {}
    for window in windows:
        source = window.tile.source
        longest[source] = max(longest.get(source, 0), window.span_minutes)
    return longest


def joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Stretches in order, those that touch or overlap made one."""
    result: list[Stretch] = []
    for start, end in sorted(stretches):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _stretch_before(stretches: Sequence[Stretch], minute: int) -> Stretch | None:
    """The last stretch that began before ``minute``."""
    after = bisect_left(stretches, (minute,))
    return stretches[after - 1] if after else None


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

    def read(self) -> Published:
        """The newest ``keep_days`` published days; raises what delta-rs raises when storage is away."""
        if self.version() is None or self._table is None:
            return Published.nothing(self._tiles)
        days = sorted({row["ds"] for row in self._table.partitions()})[-self._keep_days :]
        wanted = [("ds", "in", days)]
        rows = (
            self._table.to_pyarrow_dataset(file_pruning_predicate=wanted).to_table(columns=TILE_ROWS.names)
            if days
            else TILE_ROWS.empty_table()
        )
        held = frozenset(date.fromisoformat(day) for day in days)
        log.info("tiles version %s: %s rows of %s days", self._table.version(), rows.num_rows, len(held))
        return Published(self._table.version(), held, TileIndex.from_arrow(self._tiles, rows))
