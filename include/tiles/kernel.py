"""The one NumPy kernel that combines tiles into windows: Spark's workers call it in batch, the predictor per query.

A ``TileIndex`` holds tiles of several kinds, sorted by kind, key and minute. All windows of all queries of a call are
found by one binary search over one array, so that a query costs microseconds and a thousand cost little more than their
arrays. Several indexes whose tiles do not overlap (published days, streamed days) are looked up together. It knows
neither Spark nor any domain.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.tiles.spec import MeasureKind, Tile, Window

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = Sequence[str | None]

#: A code (of kind and key) and a minute share one sortable 64-bit integer: code in the upper half.
MINUTE_BITS = 32
#: Stands for null in a maximum; no measure is that small.
NOTHING = -np.inf
#: Stands for null among integers; no measure is that small.
NULL = np.iinfo(np.int64).min
SUMS: tuple[MeasureKind, ...] = ("count", "sum")
#: From so many queries on it pays to search in the order of the tiles: neighbours lie in the same cache lines.
MANY_QUERIES = 16


def minutes_of(times: NDArray[np.datetime64]) -> Integers:
    """Whole minutes since 1970 (UTC) of ``times``, floored."""
    minutes: Integers = times.astype("datetime64[m]").astype(np.int64)
    return minutes


def _integers(values: Iterable[int]) -> Integers:
    return np.array(list(values), dtype=np.int64)


@dataclass(frozen=True)
class Columns:
    """Which measures of which windows become columns, and where they are found.

    ``sums`` pick them from the first ``summed`` measures of every window, ``lasts`` from the first ``width`` of those
    ``with_last``, one window below the other; ``maxima`` say tile, measure number and windows. ``names`` has sums,
    lasts, ages and maxima, in this order.
    """

    names: tuple[str, ...]
    summed: int
    width: int
    sums: Integers
    with_last: Integers
    lasts: Integers
    maxima: tuple[tuple[str, int, Integers], ...]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "Columns":
        """The columns of all windows."""
        width = max((len(window.tile.measures) for window in windows), default=0)
        with_last = [number for number, window in enumerate(windows) if window.has_last]
        summed = max((place + 1 for _, place in _measures(windows, SUMS)), default=0)
        sums, lasts = (list(_measures(windows, kinds)) for kinds in (SUMS, ("last",)))
        maxima: dict[tuple[str, int], list[int]] = {}
        for number, place in _measures(windows, ("max",)):
            maxima.setdefault((windows[number].tile.name, place), []).append(number)
        found = [*sums, *lasts], [(number, place) for (_, place), numbers in maxima.items() for number in numbers]
        texts = [[f"{windows[n].name}_{windows[n].tile.measures[place].name}" for n, place in part] for part in found]
        return cls(
            names=(*texts[0], *(f"{windows[number].name}_age" for number in with_last), *texts[1]),
            summed=summed,
            width=width,
            sums=_integers(number * summed + place for number, place in sums),
            with_last=_integers(with_last),
            lasts=_integers(with_last.index(number) * width + place for number, place in lasts),
            maxima=tuple((tile, place, _integers(numbers)) for (tile, place), numbers in maxima.items()),
        )


def _measures(windows: Sequence[Window], kinds: Sequence[MeasureKind]) -> Iterator[tuple[int, int]]:
    """The window's and the measure's number of every measure of some kinds."""
    for number, window in enumerate(windows):
        for place, measure in enumerate(window.tile.measures):
            if measure.kind in kinds:
                yield number, place


@dataclass(frozen=True)
class WindowPlan:
    """Windows arranged for the kernel, once: those over one tile by one key share a group.

    ``group_of`` has shape ``(windows,)``, ``spans`` ``(windows, 1)`` in minutes; ``key_of`` and ``source_of`` say each
    group's place in ``keys`` and ``sources``.
    """

    windows: tuple[Window, ...]
    columns: Columns
    groups: tuple[tuple[Tile, tuple[str, ...]], ...]
    keys: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]
    group_of: Integers
    key_of: Integers
    source_of: Integers
    spans: Integers

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "WindowPlan":
        """Plan once, look up often."""
        groups = tuple(dict.fromkeys((window.tile, window.key) for window in windows))
        keys = tuple(dict.fromkeys(key for _, key in groups))
        sources = tuple(dict.fromkeys(tile.source for tile, _ in groups))
        return cls(
            windows=tuple(windows),
            columns=Columns.of(windows),
            groups=groups,
            keys=keys,
            sources=sources,
            group_of=_integers(groups.index((window.tile, window.key)) for window in windows),
            key_of=_integers(keys.index(key) for _, key in groups),
            source_of=_integers(sources.index(tile.source) for tile, _ in groups),
            spans=_integers(window.span_minutes for window in windows)[:, None],
        )

    def ends(self, minutes: Integers, until: Mapping[str, Integers] | None) -> Integers:
        """The minute where each group's windows end, shape ``(groups, n)``; ``(1, n)`` where all end alike."""
        if until is None:
            return minutes[None, :]
        by_source = np.array([until[source] for source in self.sources], dtype=np.int64)
        return np.minimum(by_source, minutes).take(self.source_of, axis=0)


@dataclass(frozen=True)
class TileIndex:
    """Tiles of some kinds, in the order of ``position``: code and minute.

    A code is the kind's number in ``kinds`` times ``stride``, plus the key's number in ``numbers``, in which every text
    has one number whatever it is a key of; the last number of all, ``stride - 1``, has no tile. ``totals`` are prefix
    sums of the first measures, shape ``(tiles + 1, summed measures)``; ``values`` (NaN = null) and ``minutes`` have one
    more row, of NaN, at the end: what a range without tiles points to. ``maxima`` belong to each ``max`` measure.
    """

    kinds: Mapping[str, int]
    numbers: Mapping[str, int]
    position: Integers
    minutes: Floats
    values: Floats
    totals: Integers
    maxima: Mapping[tuple[str, int], "RangeMaxima"]

    @classmethod
    def build(
        cls,
        tiles: Sequence[Tile],
        kinds: Sequence[str],
        keys: Sequence[str],
        minutes: Integers,
        values: Sequence[Sequence[int | None]],
    ) -> "TileIndex":
        """Index tiles given in any order; of those with one kind, key and minute the last counts."""
        names = {tile.name: number for number, tile in enumerate(tiles)}
        numbers: dict[str, int] = {}
        rows = _Rows(
            kind=_integers(map(names.__getitem__, kinds)),
            key=_integers([numbers.setdefault(key, len(numbers)) for key in keys]),
            minute=np.asarray(minutes, dtype=np.int64),
            widths=_integers(map(len, values)),
            measures=pa.array(list(chain.from_iterable(values)), pa.int64()),
        )
        return cls._of(tiles, numbers, rows)

    @classmethod
    def empty(cls, tiles: Sequence[Tile]) -> "TileIndex":
        """No tile at all: every window is empty."""
        return cls.build(tiles, (), (), np.empty(0, dtype=np.int64), ())

    @classmethod
    def from_arrow(cls, tiles: Sequence[Tile], rows: pa.Table) -> "TileIndex":
        """Index the rows of these kinds in a table with ``tile``, ``key``, ``minute`` and ``values`` columns."""
        kind = pc.index_in(rows["tile"], value_set=pa.array([tile.name for tile in tiles], pa.string()))
        known = pc.is_valid(kind)
        rows, kind = rows.filter(known), kind.filter(known)
        encoded = rows["key"].combine_chunks().dictionary_encode()
        minute = pc.cast(rows["minute"], pa.timestamp("s", rows["minute"].type.tz), safe=False)
        found = _Rows(
            kind=kind.to_numpy().astype(np.int64),
            key=encoded.indices.to_numpy().astype(np.int64),
            minute=pc.cast(minute, pa.int64()).to_numpy() // 60,
            widths=pc.list_value_length(rows["values"]).to_numpy().astype(np.int64),
            measures=pc.list_flatten(rows["values"].combine_chunks()),
        )
        return cls._of(tiles, {key: number for number, key in enumerate(encoded.dictionary.to_pylist())}, found)

    @classmethod
    def of_numbers(
        cls,
        tiles: Sequence[Tile],
        numbers: Mapping[str, int],
        kind: Integers,
        key: Integers,
        minute: Integers,
        measures: Integers,
    ) -> "TileIndex":
        """Index tiles given in any order as numbers; of those with one kind, key and minute the last counts.

        ``kind`` are places in ``tiles``, ``key`` those in ``numbers`` (kept, so never to be changed), ``measures`` have
        shape ``(n, measures of the widest kind)``, with NULL for null and beyond a kind's own.
        """
        stride = len(numbers) + 1
        position = ((kind * stride + key) << MINUTE_BITS) + minute
        order = np.argsort(position, kind="stable")
        position = position[order]
        newest = np.append(position[1:] != position[:-1], True) if len(position) else np.empty(0, dtype=bool)
        order, position = order[newest], position[newest]
        measures = measures[order]
        null = measures == NULL
        summed = max((i + 1 for tile in tiles for i, m in enumerate(tile.measures) if m.kind in SUMS), default=0)
        totals = np.zeros((len(order) + 1, summed), dtype=np.int64)
        np.cumsum(np.where(null, 0, measures)[:, :summed], axis=0, out=totals[1:])
        values = np.full((len(order) + 1, measures.shape[1]), np.nan)
        values[:-1] = np.where(null, np.nan, measures)
        maxima = {}
        for number, tile in enumerate(tiles):
            bounds = np.array([number * stride, (number + 1) * stride]) << MINUTE_BITS
            first, last = np.searchsorted(position, bounds).tolist()
            for place, measure in enumerate(tile.measures):
                if measure.kind == "max":
                    maxima[tile.name, place] = RangeMaxima.of(values[first:last, place], first)
        kinds = {tile.name: number for number, tile in enumerate(tiles)}
        return cls(kinds, numbers, position, np.append(minute[order], np.nan), values, totals, maxima)

    @classmethod
    def _of(cls, tiles: Sequence[Tile], numbers: Mapping[str, int], rows: "_Rows") -> "TileIndex":
        return cls.of_numbers(tiles, numbers, rows.kind, rows.key, rows.minute, rows.matrix(tiles))

    def __len__(self) -> int:
        return len(self.position)

    @property
    def stride(self) -> int:
        """How many codes each kind has."""
        return len(self.numbers) + 1

    def ranges(
        self, plan: WindowPlan, keys: Mapping[tuple[str, ...], Keys], minutes: Integers, ends: Integers
    ) -> tuple[Integers, Integers]:
        """First and last-plus-one row of every window and query, shapes ``(windows, n)``; ``ends`` by group."""
        count, groups = len(minutes), len(plan.groups)
        found = chain.from_iterable(map(self.numbers.get, keys[key], repeat(self.stride - 1)) for key in plan.keys)  # type: ignore[arg-type]
        number = np.fromiter(found, dtype=np.int64, count=len(plan.keys) * count).reshape(-1, count)
        kind = _integers(self.kinds[tile.name] * self.stride for tile, _ in plan.groups)
        code = (number.take(plan.key_of, axis=0) + kind[:, None]) << MINUTE_BITS
        bounds = np.concatenate([code + ends, code.take(plan.group_of, axis=0) + (minutes - plan.spans)])
        at = (
            self._search(bounds, plan, number, minutes) if count >= MANY_QUERIES else self.position.searchsorted(bounds)
        )
        high = at[:groups].take(plan.group_of, axis=0)
        return np.minimum(at[groups:], high), high

    def _search(self, bounds: Integers, plan: WindowPlan, number: Integers, minutes: Integers) -> Integers:
        """As ``searchsorted``, but in the order of key and minute, not in that of the queries."""
        order = np.argsort((number << MINUTE_BITS) + minutes, axis=1)
        row_keys = np.concatenate([plan.key_of, plan.key_of.take(plan.group_of)])
        places = order.take(row_keys, axis=0) + np.arange(len(bounds), dtype=np.int64)[:, None] * len(minutes)
        at = np.empty(bounds.size, dtype=np.int64)
        at[places.ravel()] = self.position.searchsorted(bounds.take(places.ravel()))
        return at.reshape(bounds.shape)


@dataclass(frozen=True)
class RangeMaxima:
    """Maxima over ranges of rows, of which the first is ``first``: level k holds those of 2**k rows, NOTHING for none.

    ``levels`` has shape ``(levels, rows + 1)``; its last column is NOTHING.
    """

    first: int
    levels: Floats

    @classmethod
    def of(cls, values: Floats, first: int) -> "RangeMaxima":
        """From one measure (NaN = null) of consecutive rows."""
        rows = len(values)
        levels = np.full((max(rows.bit_length(), 1), rows + 1), NOTHING)
        levels[0, :rows] = np.nan_to_num(values, nan=NOTHING)
        for level in range(1, len(levels)):
            step = 1 << (level - 1)
            last = rows + 1 - 2 * step
            np.maximum(levels[level - 1, :last], levels[level - 1, step : step + last], out=levels[level, :last])
        return cls(first, levels)

    def over(self, low: Integers, high: Integers) -> Floats:
        """The maximum over each ``[low, high)`` of rows, two overlapping runs of a power of two; NaN where is none."""
        some = high > low
        level = np.frexp(np.where(some, high - low, 1).astype(np.float64))[1] - 1
        width = self.levels.shape[1]
        # A range without rows reads the column of NOTHING.
        left = np.where(some, low - self.first, width - 1)
        right = np.where(some, high - self.first - (1 << level.astype(np.int64)), width - 1)
        start = level * width
        found = np.maximum(self.levels.take(start + left), self.levels.take(start + right))
        return np.where(found == NOTHING, np.nan, found)


@dataclass(frozen=True)
class _Rows:
    """Tiles one below the other: numbers of kind and key, minute, how many measures, and all measures in one row."""

    kind: Integers
    key: Integers
    minute: Integers
    widths: Integers
    measures: pa.Array

    def matrix(self, tiles: Sequence[Tile]) -> Integers:
        """The measures, NULL for null, as wide as the widest kind.

        Raises ``ValueError`` if a tile has more or fewer measures than its kind.
        """
        expected = _integers(len(tile.measures) for tile in tiles).take(self.kind)
        wrong = np.flatnonzero(expected != self.widths)
        if len(wrong):
            tile, found = tiles[self.kind[wrong[0]]], self.widths[wrong[0]]
            raise ValueError(f"tile {tile.name!r} has {len(tile.measures)} measures, but one in the rows has {found}")
        width = max((len(tile.measures) for tile in tiles), default=0)
        measures = np.full((len(self.kind), width), NULL)
        measures[np.arange(width) < self.widths[:, None]] = pc.fill_null(self.measures, NULL).to_numpy()
        return measures


def window_columns(
    indexes: Sequence[TileIndex],
    plan: WindowPlan,
    keys: Mapping[tuple[str, ...], Keys],
    minutes: Integers,
    until: Mapping[str, Integers] | None = None,
) -> dict[str, Floats]:
    """The plan's columns for n queries at ``minutes`` since 1970; NaN is null. Shapes ``(n,)``.

    ``keys`` maps key fields to n joined texts (None: no tile). A window combines the tiles of its key in
    ``[minute - span, until)``, ``until`` by source where it lies before the minute itself. Several indexes, which have
    no tile in common, are taken together.
    """
    ends = plan.ends(minutes, until)
    ranges = [(index, *index.ranges(plan, keys, minutes, ends)) for index in indexes if len(index)]
    sums, lasts = _sums(ranges, plan, len(minutes)), _lasts(ranges, plan, minutes)
    maxima = (_maxima(ranges, *found, len(minutes)) for found in plan.columns.maxima)
    rows = chain(sums, *lasts, *maxima)
    return dict(zip(plan.columns.names, rows, strict=True))


Ranges = Sequence[tuple[TileIndex, Integers, Integers]]


def _sums(ranges: Ranges, plan: WindowPlan, count: int) -> Floats:
    """The sums, added up as integers, shape ``(sums, n)``."""
    columns = plan.columns
    found = np.zeros((len(columns.sums), count), dtype=np.int64)
    for index, low, high in ranges:
        sums = index.totals.take(high, axis=0) - index.totals.take(low, axis=0)
        found += _picked(sums[..., : columns.summed], columns.sums)
    return found.astype(np.float64)


def _lasts(ranges: Ranges, plan: WindowPlan, minutes: Integers) -> tuple[Floats, Floats]:
    """The ``last`` measures and the ages, shapes ``(lasts, n)`` and ``(windows with one, n)``."""
    columns, count = plan.columns, len(minutes)
    newest = np.full((len(columns.with_last), count), np.nan)
    values = np.full((*newest.shape, columns.width), np.nan)
    for index, low, high in ranges if len(newest) else ():
        low, high = low.take(columns.with_last, axis=0), high.take(columns.with_last, axis=0)
        at = np.where(high > low, high - 1, -1)
        own = index.minutes.take(at)
        later = ~(newest >= own) & ~np.isnan(own)
        newest = np.where(later, own, newest)
        values = np.where(later[..., None], index.values.take(at, axis=0)[..., : columns.width], values)
    return _picked(values, columns.lasts), minutes - newest


def _maxima(ranges: Ranges, tile: str, place: int, windows: Integers, count: int) -> Floats:
    """One measure's maxima in the windows over one tile, shape ``(windows, n)``."""
    found = np.full((len(windows), count), np.nan)
    for index, low, high in ranges:
        found = np.fmax(found, index.maxima[tile, place].over(low.take(windows, axis=0), high.take(windows, axis=0)))
    return found


def _picked(measures: NDArray[Any], picks: Integers) -> NDArray[Any]:
    """Of measures of shape ``(windows, n, width)`` those that are wanted, shape ``(picks, n)``."""
    windows, count, width = measures.shape
    return np.ascontiguousarray(measures.transpose(0, 2, 1)).reshape(windows * width, count).take(picks, axis=0)


def empty_values(window: Window) -> list[float]:
    """The window's columns where no tile lies in the span: counts and sums are 0, the rest null (NaN)."""
    values = [0.0 if measure.kind in SUMS else np.nan for measure in window.tile.measures]
    return [*values, np.nan] if window.has_last else values
