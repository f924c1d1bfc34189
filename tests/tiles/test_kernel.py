"""The kernel against a brute force over the tiles, on random tiles and queries."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.tiles.kernel import TileIndex, build_indexes, empty_values, window_columns
from include.tiles.spec import Measure, Tile, Window, days_of_history

TILE = Tile(
    "mixed",
    "things",
    ("key",),
    (
        Measure("count", "count"),
        Measure("total", "sum", "x"),
        Measure("highest", "max", "x"),
        Measure("latest", "last", "x"),
    ),
)
#: Few keys and minutes, so that tiles crowd and queries fall on their borders.
MINUTES = st.integers(1_000, 1_015)
KEYS = st.sampled_from(["a", "a|b", "ä"])
VALUES = st.tuples(
    st.integers(1, 9), st.integers(-(10**9), 10**9), *[st.none() | st.integers(-(10**9), 10**9) for _ in range(2)]
)
TILES = st.dictionaries(st.tuples(KEYS, MINUTES), VALUES, min_size=12, max_size=40)
QUERIES = st.lists(st.tuples(st.none() | KEYS | st.just("unseen"), MINUTES), min_size=5, max_size=20)


def table(tiles: dict[tuple[str, int], tuple[int | None, ...]], name: str = TILE.name) -> pa.Table:
    """Tile rows as they lie in the lake."""
    minutes = [minute * 60_000_000 for _, minute in tiles]
    return pa.table(
        {
            "tile": pa.array([name] * len(tiles), pa.string()),
            "key": pa.array([key for key, _ in tiles], pa.string()),
            "minute": pa.array(minutes, pa.timestamp("us", "UTC")),
            "values": pa.array([list(values) for values in tiles.values()], pa.list_(pa.int64())),
        }
    )


def brute_force(
    tiles: dict[tuple[str, int], tuple[int | None, ...]], window: Window, key: str | None, minute: int
) -> list[float | None]:
    """The window's columns by looking at every tile."""
    inside = sorted((m, v) for (k, m), v in tiles.items() if k == key and minute - window.span_minutes <= m < minute)
    columns: list[float | None] = [float(sum(v[0] or 0 for _, v in inside)), float(sum(v[1] or 0 for _, v in inside))]
    columns.append(max((v[2] for _, v in inside if v[2] is not None), default=None))
    columns.append(inside[-1][1][3] if inside else None)
    columns.append(minute - inside[-1][0] if inside else None)
    return columns


def nullable(value: float) -> float | None:
    """NaN as None."""
    return None if math.isnan(value) else float(value)


@settings(max_examples=100, deadline=None)
@given(TILES, QUERIES, st.integers(1, 20))
def test_lookup_equals_brute_force(
    tiles: dict[tuple[str, int], tuple[int | None, ...]], queries: list[tuple[str | None, int]], span: int
) -> None:
    window = Window("w", TILE, ("key",), span)
    index = TileIndex.from_arrow(TILE, table(tiles))
    keys, minutes = [key for key, _ in queries], np.array([minute for _, minute in queries], dtype=np.int64)
    columns = index.lookup(window, keys, minutes)
    assert tuple(columns) == window.columns
    for number, (key, minute) in enumerate(queries):
        found = [nullable(column[number]) for column in columns.values()]
        assert found == brute_force(tiles, window, key, minute)


def test_both_ends_of_a_window_are_tile_borders() -> None:
    window = Window("w", TILE, ("key",), 10)
    index = TileIndex.from_arrow(TILE, table({("a", minute): (1, 0, None, minute) for minute in (89, 90, 99, 100)}))
    columns = index.lookup(window, ["a"], np.array([100]))
    assert columns["w_count"] == 2  # 90 and 99: not 89, which is older, nor 100, which is at the prediction time
    assert (columns["w_latest"], columns["w_age"]) == (99, 1)


def test_no_tiles_at_all() -> None:
    window = Window("w", TILE, ("key",), 10)
    columns = window_columns(build_indexes([TILE], table({})), [window], {("key",): ["a", None]}, np.array([5, 5]))
    for column, value in zip(columns.values(), empty_values(window), strict=True):
        np.testing.assert_array_equal(column, [value, value])


def test_sums_are_exact_beyond_the_precision_of_single_floats() -> None:
    window = Window("w", TILE, ("key",), 60)
    tiles = {("a", minute): (1, 2**40 + 1, None, None) for minute in range(1000, 1050)}
    columns = TileIndex.from_arrow(TILE, table(tiles)).lookup(window, ["a"], np.array([1050]))
    assert int(columns["w_total"][0]) == 50 * (2**40 + 1)


def test_other_kinds_of_tile_are_left_out() -> None:
    rows = pa.concat_tables([table({("a", 5): (1, 1, 1, 1)}), table({("a", 6): (1, 1, 1, 1)}, "other")])
    assert len(TileIndex.from_arrow(TILE, rows)) == 1


def test_values_that_do_not_fit_the_declaration_are_an_error() -> None:
    rows = table({("a", 5): (1, 1)})
    with pytest.raises(ValueError, match="'mixed' has 4 measures"):
        TileIndex.from_arrow(TILE, rows)


def test_history_is_whole_days() -> None:
    spans = [Window("w", TILE, ("key",), span) for span in (60, 1440, 1441)]
    assert [days_of_history((window,)) for window in spans] == [1, 1, 2]
    assert days_of_history(()) == 0
