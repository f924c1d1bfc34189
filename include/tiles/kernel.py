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

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "WindowPlan":
        """Plan once, look up often."""
        groups = tuple(dict.fromkeys((window.tile, window.key) for window in windows))
        numbers = [groups.index((window.tile, window.key)) for window in windows]
        spans = np.array([window.span_minutes for window in windows], dtype=np.int64)
        return cls(tuple(windows), groups, np.array(numbers, dtype=np.int64), spans[:, None])


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

    def lookup(
        self,
        plan: WindowPlan,
        keys: Mapping[tuple[str, ...], Keys],
        minutes: Integers,
        until: Mapping[str, Integers] | None = None,
    ) -> dict[str, Floats]:
        """The plan's columns for n queries at ``minutes`` since 1970; NaN is null. Shapes ``(n,)``.

        ``keys`` maps key fields to n joined texts (None: no tile). A window combines the tiles of its key in
        ``[minute - span, until)``, ``until`` by source where it lies before the minute itself.
        """
        low, high = self._ranges(plan, keys, minutes, until)
        some = high > low
        columns: dict[str, Floats] = {}
        sums = [(total[high] - total[low]).astype(np.float64) for total in self.totals]
        for number, window in enumerate(plan.windows):
            at = np.where(some[number], high[number] - 1, -1) if window.has_last else None
            for place, measure in enumerate(window.tile.measures):
                name = f"{window.name}_{measure.name}"
                if measure.kind in SUMS:
                    columns[name] = sums[place][number]
                elif measure.kind == "last":
                    columns[name] = self.values[at, place]
                else:
                    columns[name] = self._maximum(window.tile, place, low[number], high[number])
            if window.has_last:
                columns[f"{window.name}_age"] = minutes - self.minutes[at]
        return columns

    def _ranges(
        self,
        plan: WindowPlan,
        keys: Mapping[tuple[str, ...], Keys],
        minutes: Integers,
        until: Mapping[str, Integers] | None,
    ) -> tuple[Integers, Integers]:
        """First and last-plus-one row of every window and query, shapes ``(windows, n)``."""
        count, groups = len(minutes), len(plan.groups)
        found = chain.from_iterable(
            map(self.codes[tile.name].get, keys[key], repeat(-1))  # -1: no such key
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

    def _maximum(self, tile: Tile, place: int, low: Integers, high: Integers) -> Floats:
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
    """``TileIndex.lookup`` over several indexes without a tile in common, taken together. At least one index."""
    filled = [index for index in indexes if len(index)] or list(indexes[:1])
    columns = filled[0].lookup(plan, keys, minutes, until)
    for index in filled[1:]:
        more = index.lookup(plan, keys, minutes, until)
        for window in plan.windows:
            _merge(window, columns, more)
    return columns


def _merge(window: Window, columns: dict[str, Floats], more: Mapping[str, Floats]) -> None:
    """Add what another index knows of one window."""
    later = None
    if window.has_last:
        age, other = columns[f"{window.name}_age"], more[f"{window.name}_age"]
        later = ~(age <= other) & ~np.isnan(other)
        columns[f"{window.name}_age"] = np.where(later, other, age)
    for measure in window.tile.measures:
        name = f"{window.name}_{measure.name}"
        if measure.kind in SUMS:
            columns[name] = columns[name] + more[name]
        elif measure.kind == "last":
            columns[name] = np.where(later, more[name], columns[name])
        else:
            columns[name] = np.fmax(columns[name], more[name])


def empty_values(window: Window) -> list[float]:
    """The window's columns where no tile lies in the span: counts and sums are 0, the rest null (NaN)."""
    values = [0.0 if measure.kind in SUMS else np.nan for measure in window.tile.measures]
    return [*values, np.nan] if window.has_last else values
