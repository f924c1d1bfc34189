"""The kernel against a brute force over the tiles, on random tiles and queries."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.tiles.kernel import TileIndex, WindowPlan, empty_values, window_columns
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
Tiles = dict[tuple[str, int], tuple[int | None, ...]]
#: Few keys and minutes, so that tiles crowd and queries fall on their borders.
MINUTES = st.integers(1_000, 1_015)
KEYS = st.sampled_from(["a", "a|b", "ä"])
VALUES = st.tuples(
    st.integers(1, 9), st.integers(-(10**9), 10**9), *[st.none() | st.integers(-(10**9), 10**9) for _ in range(2)]
)
TILES = st.dictionaries(st.tuples(KEYS, MINUTES), VALUES, min_size=12, max_size=40)
QUERIES = st.lists(st.tuples(st.none() | KEYS | st.just("unseen"), MINUTES), min_size=5, max_size=20)


def table(tiles: Tiles, name: str = TILE.name) -> pa.Table:
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


def brute_force(tiles: Tiles, window: Window, key: str | None, minute: int) -> list[float | None]:
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


def look_up(index: TileIndex, windows: Sequence[Window], keys: Any, minutes: Any, until: Any = None) -> Any:
    """The windows' columns for queries by ``key``."""
    until = None if until is None else {TILE.source: np.array(until), "others": np.array(until)}
    return window_columns([index], WindowPlan.of(windows), {("key",): keys}, np.array(minutes), until)


@settings(max_examples=100)
@given(TILES, QUERIES, st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True))
def test_lookup_equals_brute_force(tiles: Tiles, queries: list[tuple[str | None, int]], spans: list[int]) -> None:
    windows = [Window(f"w{span}", TILE, ("key",), span) for span in spans]
    index = TileIndex.from_arrow([TILE], table(tiles))
    keys, minutes = [key for key, _ in queries], [minute for _, minute in queries]
    columns = look_up(index, windows, keys, minutes)
    assert sorted(columns) == sorted(name for window in windows for name in window.columns)
    for window in windows:
        for number, (key, minute) in enumerate(queries):
            found = [nullable(columns[name][number]) for name in window.columns]
            assert found == brute_force(tiles, window, key, minute)


#: Other kinds in the same index: one of sums alone, one with the measures in another order.
SUMS = Tile("sums", "others", ("key",), (Measure("count", "count"),))
TURNED = Tile("turned", "others", ("key",), (Measure("latest", "last", "x"), Measure("total", "sum", "x")))


@settings(max_examples=100)
@given(TILES, TILES, TILES, QUERIES, st.integers(1, 20), st.data())
def test_kinds_do_not_mix_and_indexes_add_up(
    mixed: Tiles, sums: Tiles, turned: Tiles, queries: list[tuple[str | None, int]], span: int, data: st.DataObject
) -> None:
    shown = {
        TILE: mixed,
        SUMS: {k: v[:1] for k, v in sums.items()},
        TURNED: {k: (v[3], v[1]) for k, v in turned.items()},
    }
    rows = pa.concat_tables([table(tiles, kind.name) for kind, tiles in shown.items()])
    plan = WindowPlan.of([Window(f"{kind.name}{n}", kind, ("key",), n) for kind in shown for n in (span, span + 3)])
    keys, minutes = {("key",): [key for key, _ in queries]}, np.array([minute for _, minute in queries])
    until = {source: minutes - data.draw(st.integers(-2, 6)) for source in ("things", "others")}
    whole = window_columns([TileIndex.from_arrow(list(shown), rows)], plan, keys, minutes, until)
    for window in plan.windows:
        alone = TileIndex.from_arrow([window.tile], table(shown[window.tile], window.tile.name))
        for number, (key, minute) in enumerate(queries):
            seen = {(k, m): v for (k, m), v in shown[window.tile].items() if m < until[window.tile.source][number]}
            again = TileIndex.from_arrow([window.tile], table(seen, window.tile.name))
            one = window_columns([again], WindowPlan.of([window]), {("key",): [key]}, np.array([minute]))
            for name in window.columns:
                np.testing.assert_array_equal(whole[name][number], one[name][0])
        assert len(alone) == len(shown[window.tile])
    here = np.array([data.draw(st.booleans()) for _ in range(rows.num_rows)], dtype=bool)
    parts = [TileIndex.from_arrow(list(shown), rows.filter(pa.array(chosen))) for chosen in (here, ~here)]
    for name, column in window_columns(parts, plan, keys, minutes, until).items():
        np.testing.assert_array_equal(column, whole[name])


@given(TILES)
def test_building_from_lists_equals_building_from_rows(tiles: Tiles) -> None:
    repeated = [*((where, (9, 9, 9, 9)) for where in list(tiles)[::3]), *tiles.items()]
    minutes = np.array([minute for (_, minute), _ in repeated], dtype=np.int64)
    keys, values = [key for (key, _), _ in repeated], [values for _, values in repeated]
    built = TileIndex.build([SUMS, TILE], [TILE.name] * len(keys), keys, minutes, values)
    window = Window("w", TILE, ("key",), 6)
    expected = look_up(TileIndex.from_arrow([TILE], table(tiles)), [window], ["a", "a|b", "ä"], [1008] * 3)
    for name, column in look_up(built, [window], ["a", "a|b", "ä"], [1008] * 3).items():
        np.testing.assert_array_equal(column, expected[name])
    assert len(built) == len(tiles)


def test_both_ends_of_a_window_are_tile_borders() -> None:
    window = Window("w", TILE, ("key",), 10)
    index = TileIndex.from_arrow([TILE], table({("a", minute): (1, 0, None, minute) for minute in (89, 90, 99, 100)}))
    columns = look_up(index, [window], ["a"], [100])
    assert columns["w_count"] == 2  # 90 and 99: not 89, which is older, nor 100, which is at the prediction time
    assert (columns["w_latest"], columns["w_age"]) == (99, 1)


def test_what_was_not_seen_does_not_count_and_ages_are_of_the_prediction_time() -> None:
    window = Window("w", TILE, ("key",), 10)
    index = TileIndex.from_arrow([TILE], table({("a", minute): (1, 0, minute, minute) for minute in (90, 95, 99)}))
    columns = look_up(index, [window], ["a", "a", "a"], [100, 100, 100], until=[96, 50, 200])
    assert columns["w_count"].tolist() == [2, 0, 3]
    assert columns["w_age"][0] == 5 and np.isnan(columns["w_age"][1]) and columns["w_highest"][2] == 99


def test_no_tiles_at_all() -> None:
    window = Window("w", TILE, ("key",), 10)
    plan, keys, minutes = WindowPlan.of([window]), {("key",): ["a", None]}, np.array([5, 5])
    for indexes in ([TileIndex.empty([TILE])], [TileIndex.empty([TILE]), TileIndex.from_arrow([TILE], table({}))]):
        columns = window_columns(indexes, plan, keys, minutes)
        for name, value in zip(window.columns, empty_values(window), strict=True):
            np.testing.assert_array_equal(columns[name], [value, value])


def test_sums_are_exact_beyond_the_precision_of_single_floats() -> None:
    window = Window("w", TILE, ("key",), 60)
    tiles: Tiles = {("a", minute): (1, 2**40 + 1, None, None) for minute in range(1000, 1050)}
    columns = look_up(TileIndex.from_arrow([TILE], table(tiles)), [window], ["a"], [1050])
    assert int(columns["w_total"][0]) == 50 * (2**40 + 1)


def test_other_kinds_of_tile_are_left_out() -> None:
    rows = pa.concat_tables([table({("a", 5): (1, 1, 1, 1)}), table({("a", 6): (1, 1, 1, 1)}, "other")])
    assert len(TileIndex.from_arrow([TILE], rows)) == 1


def test_values_that_do_not_fit_the_declaration_are_an_error() -> None:
    rows = table({("a", 5): (1, 1)})
    with pytest.raises(ValueError, match="'mixed' has 4 measures"):
        TileIndex.from_arrow([TILE], rows)


def test_history_is_whole_days() -> None:
    spans = [Window("w", TILE, ("key",), span) for span in (60, 1440, 1441)]
    assert [days_of_history((window,)) for window in spans] == [1, 1, 2]
    assert days_of_history(()) == 0
