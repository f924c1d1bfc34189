"""Preprocess' pure parts: which days, which subjects, references, announcements and shares."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from pyspark.sql import SparkSession

from include import book, lake
from include.contracts.contract import Contract
from include.spark_jobs import preprocess_features
from include.spark_jobs.preprocess_features import (
    EarlierDaysOpen,
    announcements,
    book_shares,
    buckets_for,
    checked_labels,
    days_tiled,
    for_label_days,
    refuse_open_days,
    subjects_of,
    tile_days,
)
from include.target import BINARY, COUNT, Target
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
START = USE_CASE.history_start


def names(count: int) -> set[str]:
    return {(START + timedelta(days=n)).isoformat() for n in range(count)}


def test_a_day_is_refused_while_one_it_needs_is_open() -> None:
    day = START + timedelta(days=3)
    refuse_open_days(USE_CASE, [day], names(4))
    missing = (START + timedelta(days=1)).isoformat()
    with pytest.raises(EarlierDaysOpen, match=missing):
        refuse_open_days(USE_CASE, [day], names(4) - {missing})


def test_tiles_of_earlier_days_are_built_only_when_nobody_has() -> None:
    day = START + timedelta(days=2)
    assert tile_days(USE_CASE, [day], names(2)) == [day]
    assert tile_days(USE_CASE, [day], set()) == [START, START + timedelta(days=1), day]


def test_tiles_stand_while_nothing_in_them_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Day by day: expired, as built, built before a withdrawal, and after one; the fifth is not closed."""
    first = date(2013, 3, 1)
    days = [(first + timedelta(days=n)).isoformat() for n in range(5)]
    noon = datetime(2013, 4, 1, 12, tzinfo=UTC)
    closed_at = [noon, noon, noon - timedelta(hours=1), noon + timedelta(hours=1), noon]
    lines = [
        {"stage": "preprocess", "source": source, "ds": ds, "closed": ds != days[4], "closed_at": moment}
        for ds, moment in zip(days, closed_at, strict=True)
        for source in ("features", "tiles")
    ]
    source = next(one for one in USE_CASE.sources if one.announced_days == 1)
    event = {"source": source.name, "ds": days[2], "time": noon, "event": "retracted", "landing_key": "k"}
    monkeypatch.setattr(lake, "read_rows", lambda *_: lines)
    monkeypatch.setattr(lake, "rows_by_day", lambda *_: dict.fromkeys(days[1:], 1))
    monkeypatch.setattr(preprocess_features, "read_events", lambda _: [event])
    assert days_tiled(USE_CASE) == {days[1], days[3]}


def test_a_subject_belongs_to_the_day_of_its_prediction_time(spark: SparkSession) -> None:
    rows = [
        ("before", datetime(2013, 1, 2, 0, 59), "2013-01-01"),
        ("first", datetime(2013, 1, 2, 1, 0), "2013-01-01"),
        ("last", datetime(2013, 1, 3, 0, 59), "2013-01-02"),
        ("announced too late", datetime(2013, 1, 2, 12), "2013-01-03"),
        ("announced too early", datetime(2013, 1, 2, 12), "2012-12-31"),
    ]
    facts = spark.createDataFrame(rows, f"id string, {USE_CASE.subject_time} timestamp, ds string")
    found = subjects_of(facts, USE_CASE, [date(2013, 1, 2)]).collect()
    assert {(row["id"], row["ds"]) for row in found} == {("first", "2013-01-02"), ("last", "2013-01-02")}


def test_a_label_day_sees_facts_until_its_horizon_ends(spark: SparkSession) -> None:
    facts = spark.createDataFrame([(f"2013-01-0{n}",) for n in range(1, 6)], "ds string")
    days = [date(2013, 1, 2), date(2013, 1, 3)]
    timetable, departures = USE_CASE.source("schedule"), USE_CASE.source("departures")

    def seen(contract: Contract) -> dict[str, list[str]]:
        found = for_label_days(facts, contract, days, 1).collect()
        return {day: sorted(r["ds"][-1] for r in found if r["label_day"] == day) for day in book.names_of(days)}

    assert seen(departures) == {"2013-01-02": ["2", "3"], "2013-01-03": ["3", "4"]}
    assert seen(timetable) == {"2013-01-02": ["1", "2", "3"], "2013-01-03": ["2", "3", "4"]}


@pytest.mark.parametrize(
    ("target", "kind", "label"),
    [(BINARY, "bigint", 2), (BINARY, "int", -1), (BINARY, "int", None), (COUNT, "double", 1.5), (COUNT, "int", -1)],
)
def test_a_label_that_the_target_does_not_have_stops_the_job_and_names_the_subject(
    spark: SparkSession, target: Target, kind: str, label: float | None
) -> None:
    good = 1.0 if kind == "double" else 1
    rows = spark.createDataFrame([("good", good), ("odd", label)], f"subject_id string, label {kind}")
    with pytest.raises(Exception, match=f"label {'null' if label is None else label} of subject odd is not"):
        checked_labels(rows, target).collect()


def test_labels_are_counted_in_whole_numbers_whatever_type_the_function_gave(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("a", 7.0), ("b", 0.0)], "subject_id string, label double")
    checked = checked_labels(rows, COUNT)
    assert checked.schema["label"].dataType.simpleString() == "int"
    assert {row["subject_id"]: row["label"] for row in checked.collect()} == {"a": 7, "b": 0}


def test_every_day_is_announced_by_its_key(spark: SparkSession) -> None:
    counts = spark.createDataFrame([("2013-01-01", 5, 9)], "ds string, rows bigint, tiles bigint")
    (row,) = announcements(counts, "house", "run", datetime(2013, 1, 2, tzinfo=UTC)).collect()
    assert row["key"] == "2013-01-01"
    assert json.loads(row["value"]) == {
        "event": "features_ready",
        "use_case": "house",
        "ds": "2013-01-01",
        "run_id": "run",
        "rows": 5,
        "tiles": 9,
        "time": "2013-01-02T00:00:00Z",
    }


def test_shares_of_a_day_without_rows_are_whole() -> None:
    line = {"ds": "d", "source": "s", "landed": 0, "ingested": 0, "quarantined": 0, "duplicate": 0}
    assert book_shares([line]) == [("d", "s", "validity", 1.0), ("d", "s", "uniqueness", 1.0)]
    some = line | {"landed": 10, "ingested": 6, "quarantined": 2, "duplicate": 2}
    assert book_shares([some]) == [("d", "s", "validity", 0.75), ("d", "s", "uniqueness", 0.8)]


def test_a_bucket_has_no_more_subjects_in_a_longer_span() -> None:
    lines = [{"source": "schedule", "ingested": 900}, {"source": "arrivals", "ingested": 9_000_000}]
    assert buckets_for(USE_CASE, lines) == 4
    assert buckets_for(USE_CASE, lines * 1000) == 36
