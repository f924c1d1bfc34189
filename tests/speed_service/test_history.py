"""What a prediction time could see of published days and streamed tiles, and the published table as it is read."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from include.streaming.messages import minute_of, minute_text
from include.tiles.kernel import TileIndex, WindowPlan, window_columns
from include.use_case import UseCase, load_use_case
from speed_service.history import NOTHING_SEEN, History, Progress, Published, TilesTable, day_start, spans
from tests.speed_service.conftest import days_between, tile_row, tile_table

DAY = date(2013, 1, 20)
USE_CASE = load_use_case("flight_delay")
SOURCES = sorted(spans(USE_CASE.features.windows))


def covering(days: frozenset[date], progress: dict[str, Progress] | None = None) -> History:
    empty = TileIndex.empty(())
    return History(USE_CASE, Published(1, days, empty), empty, progress or {})


@pytest.mark.parametrize(
    ("moment", "as_of"),
    [
        ("2013-01-20T14:15:59Z", "2013-01-20T14:15:00Z"),
        ("2013-01-20T00:00:00Z", "2013-01-20T00:00:00Z"),
        ("2013-01-21T00:00:00Z", "2013-01-21T00:00:00Z"),
        ("2013-01-21T00:01:00Z", "2013-01-21T00:00:00Z"),
        ("2013-02-21T10:00:00Z", "2013-01-21T00:00:00Z"),
        ("2013-01-18T10:00:00Z", "2013-01-18T10:00:00Z"),
    ],
)
def test_as_of_is_the_prediction_time_or_the_end_of_what_is_published(moment: str, as_of: str) -> None:
    seen = covering(days_between(date(2013, 1, 10), DAY)).seen(minute_of(moment))
    assert set(seen.as_of.values()) == {as_of}
    assert seen.complete == (minute_of(moment) == minute_of(as_of))


def test_nothing_is_visible_before_the_first_published_day() -> None:
    for history in (covering(frozenset([DAY])), History.empty(USE_CASE)):
        seen = history.seen(minute_of("2013-01-19T12:00:00Z"))
        assert set(seen.as_of.values()) == {None} and set(seen.until.values()) == {NOTHING_SEEN}
        assert seen.degraded and not seen.complete


def announced_minutes(source: str) -> int:
    return USE_CASE.source(source).announced_days * 1440


def streamed_from(since: int, border: int) -> dict[str, Progress]:
    """Every source streamed from ``since`` on, what was announced before it too."""
    return {source: Progress(since - announced_minutes(source), border, border) for source in SOURCES}


def test_streamed_minutes_go_on_where_published_days_end() -> None:
    border = minute_of("2013-01-21T10:30:00Z")
    streamed = streamed_from(day_start(date(2013, 1, 21)), border)
    history = covering(days_between(date(2013, 1, 10), DAY), streamed)
    assert set(history.seen(border - 5).as_of.values()) == {"2013-01-21T10:25:00Z"}
    later = history.seen(border + 5)
    assert set(later.as_of.values()) == {"2013-01-21T10:30:00Z"} and not later.degraded


def test_a_stream_that_began_after_a_gap_leaves_a_hole() -> None:
    border = minute_of("2013-01-21T10:30:00Z")
    seen = covering(days_between(date(2013, 1, 10), DAY), streamed_from(border - 60, border)).seen(border)
    assert set(seen.as_of.values()) == {"2013-01-21T10:30:00Z"} and seen.degraded


def test_what_was_announced_before_the_stream_began_is_not_known() -> None:
    border, midnight = minute_of("2013-01-21T10:30:00Z"), day_start(date(2013, 1, 21))
    streamed = streamed_from(midnight, border) | {"schedule": Progress(midnight, border, border)}
    seen = covering(days_between(date(2013, 1, 10), DAY), streamed).seen(border)
    assert seen.as_of["schedule"] == "2013-01-21T00:00:00Z" and seen.degraded
    assert seen.as_of["departures"] == "2013-01-21T10:30:00Z"


def test_a_hole_in_the_days_of_a_window_degrades() -> None:
    whole = days_between(date(2013, 1, 10), DAY)
    noon = minute_of("2013-01-20T12:00:00Z")
    assert not covering(whole).seen(noon).degraded
    assert covering(whole - {date(2013, 1, 17)}).seen(noon).degraded  # windows reach seven days back
    assert not covering(whole - {date(2013, 1, 12)}).seen(noon).degraded


def test_the_start_of_all_facts_is_no_hole() -> None:
    days = days_between(USE_CASE.history_start, date(2013, 1, 2))
    assert not covering(days).seen(minute_of("2013-01-02T12:00:00Z")).degraded


def test_silence_is_judged_against_the_prediction_time() -> None:
    days = days_between(date(2013, 1, 10), DAY)
    patient = replace(USE_CASE, silence_minutes={"departures": 360})
    empty = TileIndex.empty(())
    history = History(patient, Published(1, days, empty), empty)
    assert not history.seen(minute_of("2013-01-21T06:00:00Z")).degraded
    assert history.seen(minute_of("2013-01-21T06:01:00Z")).degraded


BASE = date(2013, 1, 10)
DAYS = st.frozensets(st.integers(0, 12).map(lambda n: BASE + timedelta(days=n)))
MINUTES = st.integers(day_start(BASE) - 600, day_start(BASE) + 14 * 1440)


@given(DAYS, st.dictionaries(st.sampled_from(SOURCES), st.tuples(MINUTES, MINUTES)), MINUTES)
def test_seen_equals_a_brute_force_over_minutes(
    days: frozenset[date], streamed: dict[str, tuple[int, int]], minute: int
) -> None:
    progress = {s: Progress(low - announced_minutes(s), high, high) for s, (low, high) in streamed.items()}
    seen = covering(days, progress).seen(minute)
    degraded = False
    for source, span in spans(USE_CASE.features.windows).items():
        known = {m for day in days for m in range(day_start(day), day_start(day) + 1440)}
        known |= set(range(*streamed[source])) if source in streamed else set()
        border = max((m + 1 for m in known if m < minute), default=NOTHING_SEEN)
        assert seen.until[source] == border
        assert seen.as_of[source] == (minute_text(border) if border else None)
        first = max(minute - span, day_start(USE_CASE.history_start))
        silent = minute - border > USE_CASE.silence_minutes.get(source, 10**9)
        degraded |= not border or silent or not set(range(first, border)) <= known
    assert seen.degraded == degraded
    assert seen.complete == all(end >= minute for end in seen.until.values())


def write_day(path: Path, day: str, minute: datetime, value: int) -> None:
    rows = tile_table([tile_row("schedule_by_origin", "EWR", minute, [value])])
    rows = rows.append_column("run_id", pa.array(["run"])).append_column("ds", pa.array([day]))
    write_deltalake(path, rows, mode="overwrite", partition_by=["ds"], predicate=f"ds = '{day}'")


def test_reads_the_newest_days_of_a_delta_table(tmp_path: Path, use_case: UseCase) -> None:
    path = tmp_path / "tiles"
    table = TilesTable(str(path), {}, use_case.tiles, keep_days=2)
    assert table.version() is None and table.read().days == frozenset()
    seed = (
        tile_table([]).append_column("run_id", pa.array([], pa.string())).append_column("ds", pa.array([], pa.string()))
    )
    write_deltalake(path, seed, partition_by=["ds"])
    assert table.read().days == frozenset()
    for number in (18, 19, 20):
        write_day(path, f"2013-01-{number}", datetime(2013, 1, number, 9, tzinfo=UTC), number)
    published = table.read()
    assert published.days == {date(2013, 1, 19), date(2013, 1, 20)}
    assert len(published.index) == 2


def test_sees_a_day_that_is_written_again(tmp_path: Path, use_case: UseCase) -> None:
    path, minute = tmp_path / "tiles", datetime(2013, 1, 20, 9, tzinfo=UTC)
    write_day(path, "2013-01-20", minute, 1)
    table = TilesTable(str(path), {}, use_case.tiles, keep_days=9)
    first = table.read()
    write_day(path, "2013-01-20", minute, 5)
    assert table.version() != first.version
    again = table.read()
    assert len(again.index) == 1
    window = next(w for w in use_case.features.windows if w.tile.name == "schedule_by_origin")
    at = np.array([minute_of("2013-01-20T10:00:00Z")])
    columns = window_columns([again.index], WindowPlan.of([window]), {window.key: ["EWR"]}, at)
    assert columns[f"{window.name}_count"] == 5
