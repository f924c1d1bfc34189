"""Small tables through delta-rs, on a local folder: merging, a column that is new, rows by day from the log."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from include import lake
from include.tables import Column, Table

OLD = Table("t", "", (Column("id", "string", ""), Column("value", "double", ""), Column("ds", "string", "")), ("id",))
NEW = Table("t", "", (*OLD.columns[:2], Column("hour", "timestamp", ""), OLD.columns[2]), ("id",))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], DeltaTable]:
    """The table ``t`` in a folder instead of S3."""
    write_deltalake(tmp_path, lake.arrow_schema(OLD).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    return lambda: DeltaTable(str(tmp_path))


def row(name: str, value: float, ds: str = "2013-01-01", **more: Any) -> dict[str, Any]:
    return {"id": name, "value": value, "ds": ds} | more


def test_a_row_is_inserted_once_and_replaced_on_demand(opened: Callable[[], DeltaTable]) -> None:
    assert lake.merge_rows("u", OLD, [row("a", 1.0), row("a", 2.0), row("b", 3.0)]) == 2
    assert lake.merge_rows("u", OLD, [row("a", 9.0)]) == 0
    assert lake.merge_rows("u", OLD, [row("b", 4.0)], update="all") == 1
    assert {r["id"]: r["value"] for r in lake.read_rows("u", "t")} == {"a": 2.0, "b": 4.0}


def test_a_row_is_replaced_by_a_newer_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dated = Table("t", "", (*OLD.columns, Column("time", "timestamp", "")), ("id",))
    write_deltalake(tmp_path, lake.arrow_schema(dated).empty_table(), partition_by=["ds"])
    monkeypatch.setattr(lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    noon = datetime(2013, 1, 2, 12, tzinfo=UTC)
    assert lake.merge_rows("u", dated, [row("a", 1.0, time=noon), row("b", 1.0, time=noon)], update="newer") == 2
    files = DeltaTable(str(tmp_path)).file_uris()
    for hours in (0, -1):
        again = [row(name, 2.0, time=noon + timedelta(hours=hours)) for name in ("a", "b")]
        assert lake.merge_rows("u", dated, again, update="newer") == 0
    assert DeltaTable(str(tmp_path)).file_uris() == files, "nothing is written where nothing is newer"
    newer = row("a", 3.0, time=noon + timedelta(hours=1))
    assert lake.merge_rows("u", dated, [newer, row("c", 1.0, time=noon)], update="newer") == 2
    assert {r["id"]: r["value"] for r in lake.read_rows("u", "t")} == {"a": 3.0, "b": 1.0, "c": 1.0}


def test_a_merge_by_day_reads_no_other_day(opened: Callable[[], DeltaTable], tmp_path: Path) -> None:
    by_day = Table("t", "", OLD.columns, ("ds", "id"))
    lake.merge_rows("u", by_day, [row("a", 1.0), row("b", 1.0, "2013-01-02")])
    for file in (tmp_path / "ds=2013-01-01").iterdir():
        file.unlink()
    assert lake.merge_rows("u", by_day, [row("b", 2.0, "2013-01-02"), row("c", 3.0, "2013-01-02")], update="all") == 2
    assert {r["id"]: r["value"] for r in lake.read_rows("u", "t", ds=["2013-01-02"])} == {"b": 2.0, "c": 3.0}
    with pytest.raises(Exception, match="ds=2013-01-01"):
        lake.merge_rows("u", OLD, [row("d", 1.0, "2013-01-02")])


def test_a_column_declared_since_is_added_and_null_in_older_rows(opened: Callable[[], DeltaTable]) -> None:
    lake.merge_rows("u", OLD, [row("a", 1.0)])
    lake.merge_rows("u", NEW, [row("b", 2.0, hour=None)])
    assert {field.name for field in opened().schema().fields} == {"id", "value", "hour", "ds"}
    assert {r["id"]: r["hour"] for r in lake.read_rows("u", "t")} == {"a": None, "b": None}
    lake.merge_rows("u", OLD, [row("c", 3.0)])
    assert len(lake.read_rows("u", "t")) == 3


def test_maintenance_is_no_writing(opened: Callable[[], DeltaTable]) -> None:
    lake.merge_rows("u", OLD, [row("a", 1.0)])
    lake.merge_rows("u", OLD, [row("b", 1.0)])
    written = lake.last_written("u", "t")
    assert written is not None and abs(datetime.now(UTC) - written) < timedelta(minutes=10)
    opened().optimize.compact()
    assert opened().version() == 3
    assert lake.last_written("u", "t") == written
    write_deltalake(opened(), pa.Table.from_pylist([row("c", 1.0)]), mode="append")
    later = lake.last_written("u", "t")
    assert later is not None and later > written


def test_the_last_writing_is_found_without_the_whole_history(
    opened: Callable[[], DeltaTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        lake.merge_rows("u", OLD, [row(name, 1.0)])
    opened().optimize.compact()
    written = lake.last_written("u", "t")
    monkeypatch.setattr(lake, "NEWEST_COMMITS", 1)
    assert lake.last_written("u", "t") == written, "behind the newest commits, too"
    opened().create_checkpoint()
    (tmp_path / "_delta_log" / f"{0:020}.json").write_text("not to be read")
    monkeypatch.setattr(lake, "NEWEST_COMMITS", 2)
    assert written is not None and lake.last_written("u", "t") == written


def test_rows_by_day_come_from_the_log(opened: Callable[[], DeltaTable]) -> None:
    assert lake.rows_by_day("u", "t") == {}
    lake.merge_rows("u", OLD, [row("a", 1.0), row("b", 1.0), row("c", 1.0, "2013-01-02")])
    lake.merge_rows("u", OLD, [row("d", 1.0)])
    assert lake.rows_by_day("u", "t") == {"2013-01-01": 3, "2013-01-02": 1}


def test_a_map_of_times_is_a_column_of_arrow() -> None:
    table = Table("t", "", (Column("seen", "map<string,timestamp>", ""),))
    assert lake.arrow_schema(table).field("seen").type == pa.map_(pa.string(), pa.timestamp("us", tz="UTC"))


def test_rows_are_counted_by_their_columns(opened: Callable[[], DeltaTable]) -> None:
    days = ["2013-01-01", "2013-01-02", "2013-01-03"]
    lake.merge_rows("u", OLD, [row(f"{ds} {number}", number % 2, ds) for ds in days for number in range(5)])
    lake.merge_rows("u", OLD, [row("late", 1.0, days[0])])
    assert lake.count_by("u", "t", ["ds"], days[:2]) == {(days[0],): 6, (days[1],): 5}
    assert lake.count_by("u", "t", ["ds", "value"], days[:1]) == {(days[0], 0.0): 3, (days[0], 1.0): 3}
    assert lake.count_by("u", "t", ["ds"], days, pc.field("value") == 1.0) == dict.fromkeys([(days[0],)], 3) | {
        (ds,): 2 for ds in days[1:]
    }
    assert lake.count_by("u", "t", ["ds"], ["2013-02-01"]) == {}
