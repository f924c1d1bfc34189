"""Tombstones: the newest event of a file counts; a model is touched by what its rows were derived from, no more."""

import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from include.impact import impact_of
from include.lake import arrow_schema
from include.retraction import (
    RetractionRefused,
    Withdrawal,
    choose,
    events_for,
    touched_by_now,
    touched_days,
    withdrawals,
    words_of,
)
from include.tables import LANDING_FILES, RETRACTIONS, Table
from include.tombstones import counted, retracted_keys
from include.training.dataset import Tables
from include.use_case import UseCase

#: One source of sales, announced on its own day, looked back to from one day later; labels one day after.
SHOPS = cast(
    UseCase,
    SimpleNamespace(
        name="shops",
        label_horizon_days=1,
        features=SimpleNamespace(windows=(SimpleNamespace(span_minutes=1440, tile=SimpleNamespace(source="sales")),)),
        source=lambda name: SimpleNamespace(name=name, key="id", announced_days=0),
    ),
)
DAY = date(2020, 1, 3)
DS = DAY.isoformat()
NOW = datetime(2020, 2, 1, tzinfo=UTC)


def event(key: str, kind: str, hour: int, ds: str = DS, run_id: str = "r") -> dict[str, Any]:
    moment = NOW + timedelta(hours=hour)
    about = {"retraction_id": f"{kind}{hour}{key}", "source": "sales", "reason": "wrong", "actor": "ann"}
    return {**about, "time": moment, "event": kind, "landing_key": key, "run_id": run_id, "ds": ds}


def test_the_newest_event_of_a_file_counts() -> None:
    events = [event("a", "retracted", 1), event("b", "retracted", 1), event("a", "restored", 2)]
    assert set(retracted_keys(events)) == {"b"}
    assert set(retracted_keys([*reversed(events), event("a", "retracted", 3)])) == {"a", "b"}
    assert retracted_keys([]) == {}


def test_what_was_measured_of_withdrawn_facts_does_not_count() -> None:
    rows = [{"ds": DS, "source": "sales", "time": NOW + timedelta(hours=hour)} for hour in (0, 2)]
    other = {"ds": DS, "source": "weather", "time": NOW}
    assert counted([*rows, other], retracted_keys([event("a", "retracted", 1)])) == [rows[1], other]
    assert counted(rows, {}) == rows


class Lake:
    """A local lake in which runs derive days."""

    def __init__(self, root: Path) -> None:
        self.tables = Tables(str(root), {})

    def land(self, key: str, ids: list[str], ds: str = DS, duplicate: int = 0) -> None:
        """A file is ingested now."""
        file = {"source": "sales", "landing_key": key, "landing_sha256": f"sha of {key}", "rows": len(ids), "ds": ds}
        file["duplicate"] = duplicate
        file["ingested_at"] = datetime.now(UTC)
        self.append(LANDING_FILES, [{column.name: file.get(column.name) for column in LANDING_FILES.columns}])
        facts = [{"id": id_, "landing_key": key, "ds": ds} for id_ in ids]
        write_deltalake(
            f"{self.tables.root}/raw_sales", pa.Table.from_pylist(facts), mode="append", partition_by=["ds"]
        )
        time.sleep(0.01)

    def append(self, table: Table, rows: list[dict[str, Any]]) -> None:
        content = pa.Table.from_pylist(rows, schema=arrow_schema(table))
        write_deltalake(f"{self.tables.root}/{table.name}", content, mode="append")

    def derive(self, days: list[str], run_id: str) -> dict[str, int]:
        """A run writes whole days of features and labels; returns the versions, as a bundle would pin them."""
        metadata = CommitProperties(custom_metadata={"userMetadata": run_id})
        rows = pa.Table.from_pylist([{"ds": ds, "run_id": run_id} for ds in days])
        names = ", ".join(f"'{ds}'" for ds in days)
        for table in ("features", "labels"):
            there = Path(self.tables.root, table).exists()
            write_deltalake(
                f"{self.tables.root}/{table}",
                rows,
                mode="overwrite",
                partition_by=["ds"],
                predicate=f"ds IN ({names})" if there else None,
                commit_properties=metadata,
            )
        time.sleep(0.01)
        return {table: self.tables.open(table).version() for table in ("features", "labels")}

    def retract(self, run_id: str = "r") -> list[Withdrawal]:
        now = datetime.now(UTC)
        found = choose(self.tables, SHOPS, "retracted", "sales", DAY, run_id, now)
        self.append(RETRACTIONS, events_for(found, "retracted", "negated", "ann", run_id, now))
        time.sleep(0.01)
        return found


DAYS = [f"2020-01-0{n}" for n in range(1, 8)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.land("good", ["x"], ds="2020-01-02")
    return lake


def lineage(versions: dict[str, int], days: list[str] = DAYS) -> dict[str, Any]:
    split = {"train": {"days": days[:-2]}, "validation": {"days": days[-2:-1]}, "test": {"days": days[-1:]}}
    return {"tables": versions, "split": split}


def test_a_model_is_touched_by_the_days_derived_while_the_facts_were_there(lake: Lake) -> None:
    before = lake.derive(DAYS, "before the file came")
    lake.land("bad", ["y"])
    while_there = lake.derive(DAYS, "with the bad file")
    dry = touched_days(lake.tables, SHOPS, lineage(while_there), [bad_now(lake)])
    lake.retract()
    derived = impact_of(SHOPS, "sales", DAY).features
    assert derived == (DAY, date(2020, 1, 4))
    half = lake.derive([DS], "only one day was derived again")
    after = lake.derive([DS, "2020-01-04"], "both were")
    # The labels of the day before see the day's facts too, within their horizon.
    labels = lake.derive(["2020-01-02", DS, "2020-01-04"], "and the labels")
    touched = touched_by_now(lake.tables, SHOPS)
    assert touched(lineage(before)) == {}
    assert touched(lineage(while_there)) == dry == {"sales of 2020-01-03": ["2020-01-02", DS, "2020-01-04"]}
    assert touched(lineage(half)) == {"sales of 2020-01-03": ["2020-01-02", "2020-01-04"]}
    assert touched(lineage(after)) == {"sales of 2020-01-03": ["2020-01-02"]}
    assert touched(lineage(labels)) == {}
    assert touched(lineage(while_there, DAYS[4:])) == {}
    assert words_of(touched(lineage(while_there))) == "sales of 2020-01-03 (days 2020-01-02 to 2020-01-04)"


def bad_now(lake: Lake) -> Withdrawal:
    (one,) = choose(lake.tables, SHOPS, "retracted", "sales", DAY, "dry run", datetime.now(UTC))
    return one


def test_a_run_cleared_and_run_again_is_known_by_its_commit_up_to_the_pin(lake: Lake) -> None:
    lake.land("bad", ["y"])
    first = lake.derive(DAYS, "same run")
    lake.retract()
    second = lake.derive(DAYS, "same run")
    touched = touched_by_now(lake.tables, SHOPS)
    assert touched(lineage(first)) and not touched(lineage(second))


def test_rows_of_an_unknown_run_are_taken_for_touched(lake: Lake) -> None:
    lake.land("bad", ["y"])
    versions = lake.derive(DAYS, "")
    lake.retract()
    assert touched_by_now(lake.tables, SHOPS)(lineage(versions))


def test_a_model_that_does_not_say_what_it_was_trained_on_is_taken_for_touched(lake: Lake) -> None:
    lake.land("bad", ["y"])
    assert touched_by_now(lake.tables, SHOPS)({"run_id": "r"}) == {}
    lake.retract()
    assert touched_by_now(lake.tables, SHOPS)({"run_id": "r"}) == {"sales of 2020-01-03": [DS]}


def test_a_day_is_withdrawn_once_and_restored_once(lake: Lake) -> None:
    lake.land("bad", ["y"])
    assert withdrawals(lake.tables) == []
    found = lake.retract("first")
    assert [one.landing_key for one in found] == ["bad"]
    assert withdrawals(lake.tables) == found
    assert lake.tables.open("raw_sales").to_pyarrow_table().num_rows == 2, "raw is never deleted"
    with pytest.raises(RetractionRefused, match="is retracted already"):
        lake.retract("second")
    assert choose(lake.tables, SHOPS, "retracted", "sales", DAY, "first", NOW) == found, "a task that is run again"
    restored = choose(lake.tables, SHOPS, "restored", "sales", DAY, "third", datetime.now(UTC))
    lake.append(RETRACTIONS, events_for(restored, "restored", "was right", "ann", "third", datetime.now(UTC)))
    assert withdrawals(lake.tables) == []
    with pytest.raises(RetractionRefused, match="there is nothing to restore"):
        choose(lake.tables, SHOPS, "restored", "sales", DAY, "fourth", NOW)


def test_a_day_that_never_came_cannot_be_withdrawn(lake: Lake) -> None:
    with pytest.raises(RetractionRefused, match="no file of sales for 2020-01-03 was ingested"):
        lake.retract()


def test_a_corrected_file_counts_and_stops_the_restoring_of_the_wrong_one(lake: Lake) -> None:
    lake.land("bad", ["y", "z"])
    lake.retract("first")
    lake.land("corrected", ["y"])
    assert [one.landing_key for one in withdrawals(lake.tables)] == ["bad"]
    with pytest.raises(RetractionRefused, match=r"1 facts of sales for 2020-01-03 .*\(bad, corrected\), such as y"):
        choose(lake.tables, SHOPS, "restored", "sales", DAY, "third", NOW)


def test_of_two_withdrawn_files_with_the_same_facts_one_is_restored(lake: Lake) -> None:
    lake.land("folder/bad", ["y", "z"])
    lake.retract("first")
    lake.land("folder/corrected", ["y"])
    lake.retract("second")
    with pytest.raises(RetractionRefused, match="several files .folder/bad, folder/corrected., such as y: .* Name the"):
        choose(lake.tables, SHOPS, "restored", "sales", DAY, "third", NOW)
    for named in ("bad", "folder/bad"):
        (one,) = choose(lake.tables, SHOPS, "restored", "sales", DAY, "third", NOW, named)
        assert one.landing_key == "folder/bad"
    with pytest.raises(RetractionRefused, match="nothing of sales for 2020-01-03 named good is retracted"):
        choose(lake.tables, SHOPS, "restored", "sales", DAY, "third", NOW, "good")


def test_a_fact_that_was_delivered_anew_on_another_day_stops_the_restoring(lake: Lake) -> None:
    lake.land("bad", ["y"])
    lake.retract("first")
    lake.land("moved", ["y"], ds="2020-01-04")
    with pytest.raises(RetractionRefused, match=r"\(bad, moved\), such as y"):
        choose(lake.tables, SHOPS, "restored", "sales", DAY, "second", NOW)


def test_one_file_of_a_day_is_withdrawn(lake: Lake) -> None:
    lake.land("right", ["x"])
    lake.land("wrong", ["y"])
    (one,) = choose(lake.tables, SHOPS, "retracted", "sales", DAY, "first", NOW, "wrong")
    assert one.landing_key == "wrong"
    with pytest.raises(RetractionRefused, match="no file of sales for 2020-01-03 named worng was ingested"):
        choose(lake.tables, SHOPS, "retracted", "sales", DAY, "first", NOW, "worng")


def test_a_file_whose_facts_another_one_repeats_is_not_withdrawn_alone(lake: Lake) -> None:
    lake.land("early", ["w"], duplicate=1)
    lake.land("wrong", ["x", "y"])
    lake.land("corrected", ["z"], duplicate=2)
    with pytest.raises(RetractionRefused, match="rows of corrected were counted as repeats .* would go with wrong: "):
        choose(lake.tables, SHOPS, "retracted", "sales", DAY, "first", NOW, "wrong")
    found = choose(lake.tables, SHOPS, "retracted", "sales", DAY, "first", NOW)
    assert [one.landing_key for one in found] == ["corrected", "early", "wrong"]
    lake.append(RETRACTIONS, [event("corrected", "retracted", 1)])
    assert len(choose(lake.tables, SHOPS, "retracted", "sales", DAY, "second", NOW, "wrong")) == 1
