"""The one NumPy kernel that combines tiles into windows: Spark's workers call it in batch, the predictor per query.

A ``TileIndex`` holds tiles of several kinds, sorted by key and minute. All windows of all queries of a call are found
by one binary search over one array, so that a query costs microseconds and a thousand cost little more than their
arrays. Several indexes whose tiles do not overlap (published days, streamed days) are looked up together. It knows
neither Spark nor any domain.
"""

from collections.abc import Mapping, Sequence
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

#: A key's code and a minute share one sortable 64-bit integer: code in the upper half.
MINUTE_BITS = 32
#: Stands for null in a maximum; no measure is that small.
NOTHING = -np.inf
SUMS: tuple[MeasureKind, ...] = ("count", "sum")


def minutes_of(times: NDArray[np.datetime64]) -> Integers:
    """Whole minutes since 1970 (UTC) of ``times``, floored."""
    minutes: Integers = times.astype("datetime64[m]").astype(np.int64)
    return minutes


@dataclass(frozen=True)
class WindowPlan:
    """Windows in the order of their columns, arranged for the kernel: those over one tile by one key share a group.

    ``group_of`` has shape ``(windows,)``, ``spans`` ``(windows, 1)`` in minutes.
    """

    windows: tuple[Window, ...]
    groups: tuple[tuple[Tile, tuple[str, ...]], ...]
    group_of: Integers
    spans: Integers
    #: How many measures the widest of the tiles has.
    width: int

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "WindowPlan":
        """Plan once, look up often."""
        groups = tuple(dict.fromkeys((window.tile, window.key) for window in windows))
        numbers = [groups.index((window.tile, window.key)) for window in windows]
        spans = np.array([window.span_minutes for window in windows], dtype=np.int64)
        width = max((len(window.tile.measures) for window in windows), default=0)
        return cls(tuple(windows), groups, np.array(numbers, dtype=np.int64), spans[:, None], width)


@dataclass(frozen=True)
class TileIndex:
    """Tiles of some kinds. ``position`` (key code and minute, ascending) has one element a tile.

    ``codes`` maps kind and key to the code; codes of one kind follow each other. ``totals`` are prefix sums, one array
    of ``tiles + 1`` per measure number; ``values`` (NaN = null) and ``minutes`` have one more row, of NaN, at the end:
    what a range without tiles points to. ``maxima`` belong to each kind with a ``max`` measure.
    """

    codes: Mapping[str, Mapping[str, int]]
    position: Integers
    minutes: Floats
    values: Floats
    totals: tuple[Integers, ...]
    maxima: Mapping[tuple[str, int], tuple[int, list[Floats]]]

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
        rows = pa.table(
            {
                "tile": pa.array(kinds, pa.string()),
                "key": pa.array(keys, pa.string()),
                "minute": pa.array(np.asarray(minutes, dtype=np.int64) * 60, pa.int64()).cast(pa.timestamp("s", "UTC")),
                "values": pa.array(values, pa.list_(pa.int64())),
            }
        )
        return cls.from_arrow(tiles, rows)

    @classmethod
    def empty(cls, tiles: Sequence[Tile]) -> "TileIndex":
        """No tile at all: every window is empty."""
        return cls.build(tiles, (), (), np.empty(0, dtype=np.int64), ())

    @classmethod
    def from_arrow(cls, tiles: Sequence[Tile], rows: pa.Table) -> "TileIndex":
        """Index the rows of these kinds in a table with ``tile``, ``key``, ``minute`` and ``values`` columns."""
        blocks = [_block(tile, rows) for tile in tiles]
        codes: dict[str, Mapping[str, int]] = {}
        positions, first = [], 0
        for tile, block in zip(tiles, blocks, strict=True):
            codes[tile.name] = {key: first + code for code, key in enumerate(block.keys)}
            positions.append(((block.codes + first) << MINUTE_BITS) + block.minutes)
            first += len(block.keys)
        position = _joined(positions, np.int64)
        order = np.argsort(position, kind="stable")
        position = position[order]
        newest = np.append(position[1:] != position[:-1], True) if len(position) else np.empty(0, dtype=bool)
        order, position = order[newest], position[newest]
        integers, values = _matrices(tiles, blocks)
        values = np.concatenate([values[order], np.full((1, values.shape[1]), np.nan)])
        minutes = np.append((position & ((1 << MINUTE_BITS) - 1)).astype(np.float64), np.nan)
        maxima = {key: found for tile in tiles for key, found in _maxima(tile, codes[tile.name], position, values)}
        return cls(codes, position, minutes, values, _prefix_sums(integers[order]), maxima)

    def __len__(self) -> int:
        return len(self.position)

    def ranges(
        self,
        plan: WindowPlan,
        keys: Mapping[tuple[str, ...], Keys],
        minutes: Integers,
        until: Mapping[str, Integers] | None,
    ) -> tuple[Integers, Integers]:
        """First and last-plus-one row of every window and query, shapes ``(windows, n)``."""
        count, groups = len(minutes), len(plan.groups)
        found = chain.from_iterable(
            map(self.codes[tile.name].get, keys[key], repeat(-1))  # type: ignore[arg-type]  # -1: no such key
            for tile, key in plan.groups
        )
        code = np.fromiter(found, dtype=np.int64, count=groups * count).reshape(groups, count) << MINUTE_BITS
        if until is None:
            ends = code + minutes
        else:
            ends = code + np.stack([np.minimum(until[tile.source], minutes) for tile, _ in plan.groups])
        starts = code[plan.group_of] + (minutes - plan.spans)
        at = np.searchsorted(self.position, np.concatenate([ends, starts]))
        high = at[:groups][plan.group_of]
        return np.minimum(at[groups:], high), high

    def maximum(self, tile: Tile, place: int, low: Integers, high: Integers) -> Floats:
        """The maximum of one measure over each ``[low, high)``; NaN where there is none."""
        first, levels = self.maxima[tile.name, place]
        result = np.full(len(low), np.nan)
        some = high > low
        if some.any():
            maximum = _range_maximum(levels, low[some] - first, high[some] - first)
            result[some] = np.where(maximum == NOTHING, np.nan, maximum)
        return result


@dataclass(frozen=True)
class _Block:
    """The rows of one kind: distinct keys, each row's key code and minute, values as integers (null = 0) and floats."""

    keys: list[str]
    codes: Integers
    minutes: Integers
    integers: Integers
    values: Floats


def _block(tile: Tile, rows: pa.Table) -> _Block:
    table = rows.filter(pc.equal(rows["tile"], tile.name)) if "tile" in rows.column_names else rows
    width = len(tile.measures)
    flat = pc.list_flatten(table["values"].combine_chunks())
    if len(flat) != width * len(table):
        raise ValueError(f"tile {tile.name!r} has {width} measures, but its rows hold {len(flat)} values")
    encoded = table["key"].combine_chunks().dictionary_encode()
    minute = pc.cast(table["minute"], pa.timestamp("s", table["minute"].type.tz), safe=False)
    return _Block(
        keys=encoded.dictionary.to_pylist(),
        codes=encoded.indices.to_numpy().astype(np.int64),
        minutes=pc.cast(minute, pa.int64()).to_numpy() // 60,
        integers=pc.fill_null(flat, 0).to_numpy().astype(np.int64).reshape(-1, width),
        values=pc.cast(flat, pa.float64(), safe=False).to_numpy(zero_copy_only=False).reshape(-1, width),
    )


def _joined(parts: Sequence[NDArray[Any]], kind: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *parts])


def _matrices(tiles: Sequence[Tile], blocks: Sequence[_Block]) -> tuple[Integers, Floats]:
    """All kinds' values one below the other, as wide as the widest kind: summed ones as integers, all as floats."""
    rows, width = sum(len(block.minutes) for block in blocks), max((len(tile.measures) for tile in tiles), default=0)
    summed = max((i + 1 for tile in tiles for i, m in enumerate(tile.measures) if m.kind in SUMS), default=0)
    integers = np.zeros((rows, summed), dtype=np.int64)
    values = np.full((rows, width), np.nan)
    at = 0
    for block in blocks:
        below, wide = at + len(block.minutes), block.values.shape[1]
        integers[at:below, : min(wide, summed)] = block.integers[:, :summed]
        values[at:below, :wide] = block.values
        at = below
    return integers, values


def _prefix_sums(values: Integers) -> tuple[Integers, ...]:
    """Per column, the sums of its first 0, 1, 2, ... values."""
    sums = np.zeros((values.shape[1], len(values) + 1), dtype=np.int64)
    np.cumsum(values.T, axis=1, out=sums[:, 1:])
    return tuple(sums)


def _maxima(
    tile: Tile, codes: Mapping[str, int], position: Integers, values: Floats
) -> list[tuple[tuple[str, int], tuple[int, list[Floats]]]]:
    """Per ``max`` measure of a kind, its first row and the maxima of each run of 1, 2, 4, ... of its rows."""
    places = [place for place, measure in enumerate(tile.measures) if measure.kind == "max"]
    if not places:
        return []
    lowest = min(codes.values(), default=0)
    first, last = np.searchsorted(position, [lowest << MINUTE_BITS, (lowest + len(codes)) << MINUTE_BITS])
    known = np.nan_to_num(values[first:last], nan=NOTHING, neginf=NOTHING, posinf=np.inf)
    return [((tile.name, place), (int(first), _doubling_maxima(known[:, place]))) for place in places]


def _doubling_maxima(values: Floats) -> list[Floats]:
    """Level k holds the maximum of ``values[i : i + 2**k]`` at ``i``."""
    levels = [values]
    while len(levels[-1]) > 1 << (len(levels) - 1):
        step = 1 << (len(levels) - 1)
        levels.append(np.maximum(levels[-1][:-step], levels[-1][step:]))
    return levels


def _range_maximum(levels: list[Floats], low: Integers, high: Integers) -> Floats:
    """The maximum over each non-empty ``[low, high)``: two overlapping runs of a power of two."""
    level = np.frexp((high - low).astype(np.float64))[1] - 1
    result = np.empty(len(low))
    for number in np.unique(level):
        chosen = level == number
        runs = levels[number]
        result[chosen] = np.maximum(runs[low[chosen]], runs[high[chosen] - (1 << int(number))])
    return result


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
    ranges = [(index, *index.ranges(plan, keys, minutes, until)) for index in indexes if len(index)]
    sums = _sums(ranges, plan, len(minutes))
    columns: dict[str, Floats] = {}
    for number, window in enumerate(plan.windows):
        parts = [(index, low[number], high[number]) for index, low, high in ranges]
        newest = _newest(parts, len(minutes)) if window.has_last else None
        for place, measure in enumerate(window.tile.measures):
            name = f"{window.name}_{measure.name}"
            if measure.kind in SUMS:
                columns[name] = sums[place][number]
            elif newest is not None and measure.kind == "last":
                columns[name] = newest.values(place)
            else:
                columns[name] = _maximum(parts, window.tile, place, len(minutes))
        if newest is not None:
            columns[f"{window.name}_age"] = minutes - newest.minutes
    return columns


Ranges = Sequence[tuple[TileIndex, Integers, Integers]]


def _sums(ranges: Ranges, plan: WindowPlan, count: int) -> list[Floats]:
    """Per measure number, the sums of every window and query, shape ``(windows, n)``: added up as integers."""
    width = max((len(index.totals) for index, _, _ in ranges), default=0)
    found = [np.zeros((len(plan.windows), count), dtype=np.int64) for _ in range(max(width, plan.width))]
    for index, low, high in ranges:
        for place, total in enumerate(index.totals):
            found[place] += total[high] - total[low]
    return [integers.astype(np.float64) for integers in found]


@dataclass(frozen=True)
class _Newest:
    """The last tile of each query's range: ``minutes`` (NaN: none), and per index which of its rows that is."""

    minutes: Floats
    rows: Sequence[tuple[TileIndex, Integers, NDArray[np.bool_] | None]]

    def values(self, place: int) -> Floats:
        """One measure of those tiles; NaN is null."""
        found = np.full(len(self.minutes), np.nan)
        for index, at, later in self.rows:
            values = index.values[at, place]
            found = values if later is None else np.where(later, values, found)
        return found


def _newest(parts: Ranges, count: int) -> _Newest:
    minutes = np.full(count, np.nan)
    rows: list[tuple[TileIndex, Integers, NDArray[np.bool_] | None]] = []
    for index, low, high in parts:
        at = np.where(high > low, high - 1, -1)
        own = index.minutes[at]
        if rows:
            later = ~(minutes >= own) & ~np.isnan(own)
            minutes = np.where(later, own, minutes)
            rows.append((index, at, later))
        else:
            minutes = own
            rows.append((index, at, None))
    return _Newest(minutes, rows)


def _maximum(parts: Ranges, tile: Tile, place: int, count: int) -> Floats:
    found = np.full(count, np.nan)
    for index, low, high in parts:
        found = np.fmax(found, index.maximum(tile, place, low, high))
    return found


def empty_values(window: Window) -> list[float]:
    """The window's columns where no tile lies in the span: counts and sums are 0, the rest null (NaN)."""
    values = [0.0 if measure.kind in SUMS else np.nan for measure in window.tile.measures]
    return [*values, np.nan] if window.has_last else values
