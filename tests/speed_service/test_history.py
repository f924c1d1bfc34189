"""What the published tiles cover, and how they are read from a Delta table."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from include.use_case import UseCase
from speed_service.history import History, TilesTable, empty_history, history_from_table, visible
from tests.speed_service.conftest import days_between, some_tiles, tile_row, tile_table

DAY = date(2013, 1, 20)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def covering(use_case: UseCase, *days: date) -> History:
    return history_from_table(some_tiles(), use_case.tiles, frozenset(days), 1)


@pytest.mark.parametrize(
    ("moment", "as_of"),
    [
        ("2013-01-20T14:15:59", "2013-01-20T14:15:00"),
        ("2013-01-20T00:00:00", "2013-01-20T00:00:00"),
        ("2013-01-21T00:00:00", "2013-01-21T00:00:00"),
        ("2013-01-21T00:01:00", "2013-01-21T00:00:00"),
        ("2013-02-21T10:00:00", "2013-01-21T00:00:00"),
        ("2013-01-18T10:00:00", "2013-01-18T10:00:00"),
    ],
)
def test_as_of_is_the_prediction_time_or_the_end_of_what_is_published(
    use_case: UseCase, moment: str, as_of: str
) -> None:
    history = history_from_table(some_tiles(), use_case.tiles, days_between(date(2013, 1, 10), DAY), 1)
    assert history.as_of(at(moment)) == at(as_of)


def test_nothing_is_visible_before_the_first_published_day(use_case: UseCase) -> None:
    assert covering(use_case, DAY).as_of(at("2013-01-19T12:00:00")) is None
    assert empty_history(use_case.tiles).as_of(at("2013-01-19T12:00:00")) is None


def test_without_tiles_everything_is_degraded(use_case: UseCase) -> None:
    seen = visible(empty_history(use_case.tiles), use_case, at("2013-01-20T12:00:00"))
    assert all(source.degraded and source.as_of is None for source in seen.values())


def test_a_hole_in_the_days_of_a_window_degrades(use_case: UseCase) -> None:
    whole = days_between(date(2013, 1, 10), DAY)
    holed = history_from_table(some_tiles(), use_case.tiles, whole - {date(2013, 1, 17)}, 1)
    seen = visible(holed, use_case, at("2013-01-20T12:00:00"))
    assert seen["arrivals"].degraded  # its windows reach seven days back
    assert not seen["departures"].degraded  # its windows reach one day back


def test_the_start_of_all_facts_is_no_hole(use_case: UseCase) -> None:
    days = days_between(use_case.history_start, date(2013, 1, 2))
    seen = visible(covering(use_case, *days), use_case, at("2013-01-02T12:00:00"))
    assert not any(source.degraded for source in seen.values())


def test_silence_is_judged_against_the_prediction_time(use_case: UseCase) -> None:
    history = history_from_table(some_tiles(), use_case.tiles, days_between(date(2013, 1, 10), DAY), 1)
    soon, later = (
        visible(history, use_case, at("2013-01-21T05:59:00")),
        visible(history, use_case, at("2013-01-21T06:01:00")),
    )
    assert not soon["departures"].degraded and later["departures"].degraded
    assert soon["weather"].degraded  # weather may be silent for three hours only


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
    history = table.read()
    assert history.days == {date(2013, 1, 19), date(2013, 1, 20)}
    assert len(history.indexes["schedule_by_origin"]) == 2 == history.rows
    assert len(history.indexes["weather_by_origin"]) == 0


def test_sees_a_day_that_is_written_again(tmp_path: Path, use_case: UseCase) -> None:
    path, minute = tmp_path / "tiles", datetime(2013, 1, 20, 9, tzinfo=UTC)
    write_day(path, "2013-01-20", minute, 1)
    table = TilesTable(str(path), {}, use_case.tiles, keep_days=9)
    first = table.read()
    write_day(path, "2013-01-20", minute, 5)
    assert table.version() != first.version
    again = table.read()
    assert again.rows == 1
    assert again.indexes["schedule_by_origin"].totals[-1, 0] == 5
