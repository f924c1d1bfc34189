"""Streamed tiles in memory: the newest value counts, progress never goes back, and published days win."""

from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.streaming.messages import Progress, TileUpdate, encode, minute_text
from include.tiles.kernel import TileIndex, WindowPlan, window_columns
from include.use_case import load_use_case
from speed_service import live_tiles
from speed_service.history import History, Published, day_of, day_start
from speed_service.live_tiles import HistoryMaker, LiveTiles

USE_CASE = load_use_case("flight_delay")
FIRST, SECOND = date(2013, 2, 4), date(2013, 2, 5)
START = day_start(FIRST)
WINDOW = next(w for w in USE_CASE.features.windows if w.name == "origin_departed_24h")


def tile(minute: int, key: str = "EWR", count: int = 1, kind: str = "departures_by_origin") -> bytes:
    return encode(TileUpdate(kind, key, minute_text(minute), [count, 10 * count, 0, 10]))


def progress(border: int, source: str = "departures") -> bytes:
    return encode(Progress(source, *(minute_text(minute) for minute in (START, border, border))))


def counted(index: TileIndex, minute: int, key: str = "EWR") -> float:
    columns = window_columns([index], WindowPlan.of([WINDOW]), {("origin",): [key]}, np.array([minute]))
    return float(columns["origin_departed_24h_count"][0])


UPDATES = st.lists(
    st.tuples(st.integers(START, START + 5), st.sampled_from(["EWR", "JFK"]), st.integers(1, 9)), max_size=30
)


@given(UPDATES, st.lists(st.integers(0, 30), max_size=4))
def test_the_newest_value_of_each_tile_counts_however_messages_are_grouped(updates: Any, cuts: list[int]) -> None:
    live = LiveTiles(USE_CASE, 31)
    borders = [0, *sorted(cuts), len(updates)]
    for low, high in pairwise(borders):
        live.apply([tile(*update) for update in updates[low:high]])
        live.index(frozenset())
    newest = {(minute, key): count for minute, key, count in updates}
    assert len(live) == len(newest)
    for key in ("EWR", "JFK"):
        expected = sum(count for (_, k), count in newest.items() if k == key)
        assert counted(live.index(frozenset()), START + 1000, key) == expected


def test_a_fact_that_is_dated_years_ahead_ages_nothing() -> None:
    live = LiveTiles(USE_CASE, 31)
    live.apply([tile(START), progress(START + 20), tile(START + 60 * 24 * 365)])
    for _ in range(2):
        assert counted(live.index(frozenset()), START + 10) == 1
        live.apply([tile(START + 5, key="JFK")])


def test_what_is_no_message_or_of_an_unknown_kind_is_left_out() -> None:
    live = LiveTiles(USE_CASE, 31)
    wrong = encode(TileUpdate("departures_by_origin", "EWR", minute_text(START), [1]))
    huge = encode(TileUpdate("departures_by_origin", "EWR", minute_text(START), [2**63, 0, 0, 0]))
    live.apply([b"nope", tile(START, kind="of_a_later_version"), wrong, huge, tile(START)])
    assert len(live) == 1 and counted(live.index(frozenset()), START + 1) == 1


def test_old_tiles_are_dropped() -> None:
    live = LiveTiles(USE_CASE, keep_days=2)
    live.apply([tile(START), tile(START + 2 * 1440 - 1)])
    live.index(frozenset())
    assert len(live) == 2
    live.apply([tile(START + 2 * 1440)])
    live.index(frozenset())
    assert len(live) == 2


class Histories:
    """Every history that was handed on."""

    def __init__(self, keep_days: int = 31) -> None:
        self.made: list[History] = []
        self.maker = HistoryMaker(USE_CASE, keep_days, self.made.append)
        self.maker.on_caught_up()

    @property
    def newest(self) -> History:
        return self.made[-1]

    def count(self, minute: int) -> float:
        plan = WindowPlan.of([WINDOW])
        columns = window_columns(self.newest.indexes, plan, {("origin",): ["EWR"]}, np.array([minute]))
        return float(columns["origin_departed_24h_count"][0])


def published(day: date, count: int, version: int) -> Published:
    index = TileIndex.build(
        USE_CASE.tiles, ["departures_by_origin"], ["EWR"], np.array([day_start(day)]), [[count, 0, 0, 0]]
    )
    return Published(version, frozenset([day]), index)


def test_a_published_day_replaces_what_was_streamed_of_it() -> None:
    histories = Histories()
    histories.maker.on_streamed([tile(START), tile(START + 1440), progress(START + 1500)])
    assert histories.count(START + 10) == 1 and histories.count(START + 1500) == 1
    histories.maker.on_published(published(FIRST, 7, 1))
    assert histories.count(START + 10) == 7, "the late facts of the day are in it"
    assert histories.count(START + 1439) == 7 and len(histories.newest.live) == 1
    histories.maker.on_streamed([tile(START + 5)])
    assert histories.count(START + 10) == 7, "a repeat of what was published changes nothing"


def test_of_what_was_let_go_of_nothing_is_known() -> None:
    histories = Histories(keep_days=2)
    border = START + 5 * 1440
    histories.maker.on_streamed([tile(START), *(progress(border, source.name) for source in USE_CASE.sources)])
    long_ago = histories.newest.seen(START + 1000)
    assert long_ago.degraded and set(long_ago.as_of.values()) == {None}
    assert histories.newest.seen(border).until["departures"] == border
    days = frozenset({day_of(border + 1440), day_of(border + 2 * 1440)})
    histories.maker.on_published(Published(1, days, TileIndex.empty(USE_CASE.tiles)))
    assert set(histories.newest.seen(border).as_of.values()) == {None}, "it may have been published, and let go of"


def test_at_a_start_too_what_is_too_old_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tiles, "MANY_TILES", 10)
    maker = HistoryMaker(USE_CASE, 2, lambda history: None)
    for day in range(40):
        maker.on_streamed([tile(START + day * 1440), progress(START + day * 1440 + 1)])
    assert len(maker._live) < 30


def test_progress_never_goes_back_and_an_older_history_stays_as_it_was() -> None:
    histories = Histories()
    histories.maker.on_streamed([tile(START), progress(START + 20)])
    older = histories.newest
    histories.maker.on_streamed([progress(START + 10), tile(START + 1)])
    assert histories.newest.seen(START + 30).until["departures"] == START + 20
    assert len(older.live) == 1 and len(histories.newest.live) == 2


def test_what_was_streamed_before_the_start_counts_when_all_of_it_has_been_read() -> None:
    made: list[History] = []
    maker = HistoryMaker(USE_CASE, 31, made.append)
    maker.on_streamed([tile(START), progress(START + 20)])
    assert made == []
    maker.on_published(published(date(2013, 2, 3), 7, 1))
    assert made[-1].seen(START + 30).until["departures"] == START, "the published day alone"
    maker.on_streamed([tile(START + 1)])
    maker.on_caught_up()
    assert made[-1].seen(START + 30).until["departures"] == START + 20
    assert len(made) == 2 and len(made[-1].live) == 2


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.sampled_from(["departures_by_origin", "departures_by_tailnum", "schedule_by_origin"]),
                st.sampled_from("abc"),
                st.integers(START, START + 3 * 1440),
                st.one_of(st.none(), st.integers(-9, 9)),
            ),
            st.frozensets(st.sampled_from([FIRST, SECOND]), min_size=1),
        ),
        max_size=40,
    )
)
def test_the_index_equals_one_built_from_the_newest_values(steps: list[Any]) -> None:
    """Whatever comes in whatever order, also days that batch publishes in between, whose tiles never come back."""
    live, newest, days = LiveTiles(USE_CASE, 31), dict[tuple[str, str, int], list[int | None]](), set[date]()
    widths = {kind.name: len(kind.measures) for kind in USE_CASE.tiles}
    for step in steps:
        if isinstance(step, frozenset):
            days |= step
        else:
            kind, key, minute, value = step
            values = [value] * widths[kind]
            live.apply([encode(TileUpdate(kind, key, minute_text(minute), values))])
            newest[kind, key, minute] = values
        index = live.index(frozenset(days))
        newest = {tile: value for tile, value in newest.items() if day_of(tile[2]) not in days}
    index = live.index(frozenset(days))
    kinds, keys, minutes = ([tile[place] for tile in newest] for place in range(3))
    expected = TileIndex.build(USE_CASE.tiles, kinds, keys, np.array(minutes, dtype=np.int64), list(newest.values()))
    plan = WindowPlan.of(USE_CASE.features.windows)
    asked = np.array([START + 600, START + 1500, START + 4000])
    texts = {key: ["a", "b", "c"] for key in plan.keys}
    found, wanted = (window_columns([one], plan, texts, asked) for one in (index, expected))
    assert len(index) == len(expected) == len(live)
    for name, column in wanted.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_an_index_that_was_handed_out_never_changes() -> None:
    live = LiveTiles(USE_CASE, 31)
    live.apply([tile(START, count=3)])
    first = live.index(frozenset())
    live.apply([tile(START, count=5), tile(START + 1, key="a new one"), tile(START + 2, count=7)])
    second = live.index(frozenset())
    assert counted(first, START + 10) == 3 and counted(second, START + 10) == 12
    assert counted(first, START + 10, "a new one") == 0
