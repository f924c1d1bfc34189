"""Life cycle on real Delta tables: what is pinned stays readable through compaction, expiry and vacuum."""

import json
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include.bundle.store import DirectoryStore
from include.maintenance import LOG_KEPT, LOG_RETENTION, Retention, maintain_table, pinned_versions, read_retention
from include.settings import SettingError
from include.spark_jobs.session import DELTA_PROPERTIES

NEWEST = date(2013, 1, 10)
#: Vacuum at once, for the test alone.
NOW = 0


def rows(*numbers: int, ds: str = "2013-01-09") -> pa.Table:
    return pa.table({"n": pa.array(numbers, pa.int64()), "ds": [ds] * len(numbers)})


def numbers(path: Path, version: int | None = None) -> list[int]:
    found: list[int] = DeltaTable(path, version=version).to_pyarrow_table()["n"].to_pylist()
    return sorted(found)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five versions: three appends (0, 1, 2), a rewritten day (3), another rewritten day (4)."""
    path = tmp_path / "t"
    for number in range(3):
        write_deltalake(path, rows(number), mode="append", partition_by=["ds"])
    for number in (10, 20):
        write_deltalake(path, rows(number, number + 1), mode="overwrite", predicate="ds = '2013-01-09'")
    return path


def maintained(path: Path, *pinned: int, retention: Retention | None = None) -> int:
    done = maintain_table(DeltaTable(path), "tiles", pinned, retention or Retention(NOW), NEWEST, enforce=False)
    return done.vacuumed


def test_a_pinned_version_is_readable_after_a_vacuum_and_another_is_not(table: Path) -> None:
    assert maintained(table, 2) > 0
    assert numbers(table, 2) == [0, 1, 2]
    assert numbers(table) == [20, 21]
    with pytest.raises(Exception, match="(?i)not found|no such file"):
        numbers(table, 3)


def test_without_pins_only_the_newest_version_stays(table: Path) -> None:
    maintained(table)
    with pytest.raises(Exception, match="(?i)not found|no such file"):
        numbers(table, 2)
    assert numbers(table) == [20, 21]


def test_small_files_become_one_and_the_rows_stay(table: Path) -> None:
    for number in range(30, 34):
        write_deltalake(table, rows(number), mode="append")
    done = maintain_table(DeltaTable(table), "tiles", [2], Retention(NOW), NEWEST, enforce=False)
    assert done.compacted >= 5
    assert len(DeltaTable(table).file_uris()) == 1
    assert numbers(table) == [20, 21, 30, 31, 32, 33]
    assert numbers(table, 2) == [0, 1, 2]


def test_rows_go_after_their_days_and_only_where_a_setting_says_so(table: Path) -> None:
    write_deltalake(table, rows(1, 2, 3, ds="2012-12-01"), mode="append")
    assert maintain_table(DeltaTable(table), "tiles", [], Retention(NOW), NEWEST, enforce=False).expired == 0
    kept = Retention(NOW, {"tiles": 5})
    assert maintain_table(DeltaTable(table), "tiles", [], kept, NEWEST, enforce=False).expired == 3
    assert numbers(table) == [20, 21]


def test_the_log_of_a_pinned_version_stays_too(table: Path) -> None:
    maintained(table, 2)
    assert DeltaTable(table).metadata().configuration[LOG_RETENTION] == LOG_KEPT
    assert DELTA_PROPERTIES[LOG_RETENTION] == LOG_KEPT, "new tables have it from the start"
    version = DeltaTable(table).version()
    DeltaTable(table).create_checkpoint()
    DeltaTable(table).cleanup_metadata()
    assert numbers(table, 2) == [0, 1, 2]
    maintained(table, 2)
    assert DeltaTable(table).version() >= version


def test_what_is_fresh_stays_for_readers_that_are_at_work(table: Path) -> None:
    maintain_table(DeltaTable(table), "tiles", [], Retention(), NEWEST)
    assert numbers(table, 3) == [10, 11]


def test_bundles_and_searches_pin(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for model, version in (("a", 3), ("b", 7)):
        lineage = {"tables": {"features": version, "labels": 1}, "run_id": "r"}
        store.put(f"flights/bundles/{model}/lineage.json", json.dumps(lineage).encode())
    store.put("flights/searches/run/pins.json", json.dumps({"versions": {"features": 9}, "champion": None}).encode())
    store.put("other/bundles/c/lineage.json", json.dumps({"versions": {"features": 99}}).encode())
    assert pinned_versions(store, "flights") == {"features": frozenset({3, 7, 9}), "labels": frozenset({1})}
    store.put("flights/bundles/d/lineage.json", b"{}")
    with pytest.raises(ValueError, match="bundles/d/lineage.json names no table versions"):
        pinned_versions(store, "flights")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LAMBDA_DL_VACUUM_HOURS", "1"),
        ("LAMBDA_DL_VACUUM_HOURS", "week"),
        ("LAMBDA_DL_RETENTION_DAYS", "raw_departures=10"),
        ("LAMBDA_DL_RETENTION_DAYS", "tiles=0"),
        ("LAMBDA_DL_RETENTION_DAYS", "tiles"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingError, match=name):
        read_retention({name: text})


def test_settings_are_read() -> None:
    assert read_retention({}) == Retention(168, {})
    settings = {"LAMBDA_DL_VACUUM_HOURS": "48", "LAMBDA_DL_RETENTION_DAYS": "tiles=60, runtime_metrics=90"}
    assert read_retention(settings) == Retention(48, {"tiles": 60, "runtime_metrics": 90})
