"""The one NumPy kernel that combines tiles into windows: Spark's workers call it in batch, the predictor per query.

A ``TileIndex`` holds the tiles of one kind, sorted by key and minute; every lookup is a binary search, so one query
costs microseconds and a hundred thousand cost no more than their arrays. It knows neither Spark nor any domain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from include.tiles.spec import Tile, Window

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = Iterable[str | None]

#: A key's code and a minute share one sortable 64-bit integer: code in the upper half.
MINUTE_BITS = 32
#: Stands for null in a maximum; no measure is that small.
NOTHING = np.iinfo(np.int64).min


def minutes_of(times: NDArray[np.datetime64]) -> Integers:
    """Whole minutes since 1970 (UTC) of ``times``, floored."""
    minutes: Integers = times.astype("datetime64[m]").astype(np.int64)
    return minutes


@dataclass(frozen=True)
class TileIndex:
    """The tiles of one kind: ``position`` (key code and minute, ascending), one row per tile.

    ``values`` has shape ``(tiles, measures)``, ``present`` tells where it is not null.
    """

    tile: Tile
    codes: Mapping[str, int]
    position: Integers
    values: Integers
    present: NDArray[np.bool_]

    @classmethod
    def build(
        cls, tile: Tile, keys: NDArray[Any], minutes: Integers, values: Integers, present: NDArray[np.bool_]
    ) -> "TileIndex":
        """Index tiles given in any order; ``keys`` are texts, ``minutes`` since 1970. One tile per key and minute."""
        names, inverse = np.unique(np.asarray(keys, dtype=object).astype(str), return_inverse=True)
        position = (inverse.astype(np.int64) << MINUTE_BITS) + minutes
        order = np.argsort(position, kind="stable")
        codes = {str(name): code for code, name in enumerate(names)}
        return cls(tile, codes, position[order], values[order], present[order])

    @classmethod
    def from_arrow(cls, tile: Tile, tiles: pa.Table) -> "TileIndex":
        """Index the rows of this kind in a table with ``tile``, ``key``, ``minute`` and ``values`` columns."""
        table = tiles.filter(pc.equal(tiles["tile"], tile.name)) if "tile" in tiles.column_names else tiles
        width = len(tile.measures)
        flat = pc.list_flatten(table["values"]).combine_chunks()
        if len(flat) != width * len(table):
            raise ValueError(f"tile {tile.name!r} has {width} measures, but its rows hold {len(flat)} values")
        values = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False).astype(np.int64).reshape(-1, width)
        present = pc.is_valid(flat).to_numpy(zero_copy_only=False).reshape(-1, width)
        minute = pc.cast(table["minute"], pa.timestamp("s", table["minute"].type.tz), safe=False)
        seconds = pc.cast(minute, pa.int64()).to_numpy()
        return cls.build(tile, table["key"].to_numpy(), seconds // 60, values, present)

    def __len__(self) -> int:
        return len(self.position)

    @cached_property
    def totals(self) -> Integers:
        """Prefix sums of the values (null counts as 0), shape ``(tiles + 1, measures)``."""
        sums = np.zeros((len(self) + 1, len(self.tile.measures)), dtype=np.int64)
        np.cumsum(np.where(self.present, self.values, 0), axis=0, out=sums[1:])
        return sums

    @cached_property
    def maxima(self) -> Mapping[int, list[Integers]]:
        """Per ``max`` measure, the maxima of each run of 1, 2, 4, ... tiles: any range is two of them."""
        return {
            number: _doubling_maxima(np.where(self.present[:, number], self.values[:, number], NOTHING))
            for number, measure in enumerate(self.tile.measures)
            if measure.kind == "max"
        }

    def lookup(self, window: Window, keys: Keys, minutes: Integers) -> dict[str, Floats]:
        """The window's columns for queries of ``keys`` (None: no tile) at ``minutes`` since 1970; NaN is null.

        Each query combines the tiles of its key in ``[minute - span, minute)``. Shapes ``(n,)``.
        """
        found = map(self.codes.get, keys, repeat(-1))  # type: ignore[arg-type]  # -1: no such key
        code = np.fromiter(found, dtype=np.int64, count=len(minutes))
        until = (code << MINUTE_BITS) + minutes
        low = np.searchsorted(self.position, until - window.span_minutes)
        high = np.searchsorted(self.position, until)
        columns = self._measures(low, high)
        if window.has_last:
            columns.append(self._age(low, high, minutes))
        return dict(zip(window.columns, columns, strict=True))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the measures, in order."""
        return tuple(measure.kind for measure in self.tile.measures)

    def _measures(self, low: Integers, high: Integers) -> list[Floats]:
        """One column per measure over the tiles ``[low, high)``."""
        sums = (self.totals[high] - self.totals[low]).astype(np.float64).T
        if set(self.kinds) <= {"count", "sum"}:
            return list(sums)
        some = high > low
        lasts = self._lasts(high, some)
        chosen = {"count": lambda i: sums[i], "sum": lambda i: sums[i], "last": lambda i: lasts[i]}
        chosen["max"] = lambda i: self._maximum(i, low, high, some)
        return [chosen[kind](number) for number, kind in enumerate(self.kinds)]

    def _lasts(self, high: Integers, some: NDArray[np.bool_]) -> Floats:
        """The values of each range's last tile, shape ``(measures, n)``."""
        lasts = np.full((len(high), len(self.kinds)), np.nan)
        at = high[some] - 1
        lasts[some] = np.where(self.present[at], self.values[at], np.nan)
        return lasts.T

    def _maximum(self, number: int, low: Integers, high: Integers, some: NDArray[np.bool_]) -> Floats:
        result = np.full(len(low), np.nan)
        maximum = _range_maximum(self.maxima[number], low[some], high[some])
        result[some] = np.where(maximum == NOTHING, np.nan, maximum)
        return result

    def _age(self, low: Integers, high: Integers, minutes: Integers) -> Floats:
        age = np.full(len(low), np.nan)
        some = high > low
        age[some] = minutes[some] - (self.position[high[some] - 1] & ((1 << MINUTE_BITS) - 1))
        return age


def _doubling_maxima(values: Integers) -> list[Integers]:
    """Level k holds the maximum of ``values[i : i + 2**k]`` at ``i``."""
    levels = [values]
    while len(levels[-1]) > 1 << (len(levels) - 1):
        step = 1 << (len(levels) - 1)
        levels.append(np.maximum(levels[-1][:-step], levels[-1][step:]))
    return levels


def _range_maximum(levels: list[Integers], low: Integers, high: Integers) -> Integers:
    """The maximum over each non-empty ``[low, high)``: two overlapping runs of a power of two."""
    level = np.frexp((high - low).astype(np.float64))[1] - 1
    result = np.empty(len(low), dtype=np.int64)
    for number in np.unique(level):
        chosen = level == number
        runs = levels[number]
        result[chosen] = np.maximum(runs[low[chosen]], runs[high[chosen] - (1 << int(number))])
    return result


def build_indexes(tiles: Iterable[Tile], rows: pa.Table) -> dict[str, TileIndex]:
    """One index per kind of tile from a mixed table of tile rows; a kind without rows gets an empty index."""
    return {tile.name: TileIndex.from_arrow(tile, rows) for tile in tiles}


def window_columns(
    indexes: Mapping[str, TileIndex], windows: Iterable[Window], keys: Mapping[tuple[str, ...], Keys], minutes: Integers
) -> dict[str, Floats]:
    """The columns of all ``windows`` for n queries; ``keys`` maps a window's key fields to n joined texts or None."""
    columns: dict[str, Floats] = {}
    for window in windows:
        columns.update(indexes[window.tile.name].lookup(window, keys[window.key], minutes))
    return columns


def empty_values(window: Window) -> list[float]:
    """The window's columns where no tile lies in the span: counts and sums are 0, the rest null (NaN)."""
    values = [0.0 if measure.kind in ("count", "sum") else np.nan for measure in window.tile.measures]
    return [*values, np.nan] if window.has_last else values
