"""The scorecard's figures on facts made for it: each fault lowers its own dimension by its own share."""

from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession

from include.spark_jobs.assess_quality import (
    accessibility,
    accuracy,
    beside_subjects,
    completeness,
    consistency,
    shares,
    timeliness,
)
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
DEPARTURES, SCHEDULE = USE_CASE.source("departures"), USE_CASE.source("schedule")
DS = "2013-01-05"
AT = datetime(2013, 1, 5, 10, tzinfo=UTC)


def flight(
    number: int, delay: int = 0, tail: str | None = "N1", dest: str = "IAH", late: int = 0
) -> tuple[object, ...]:
    return (f"f{number}", "UA", number, "EWR", dest, tail, AT, AT + timedelta(minutes=delay), delay + late, DS)


def departures(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    columns = (
        "id string, carrier string, flight bigint, origin string, dest string, tailnum string, "
        "scheduled_departure timestamp, actual_departure timestamp, departure_delay bigint, ds string"
    )
    return spark.createDataFrame(list(rows), columns)


def values(facts: DataFrame, **dimensions: Column) -> dict[str, float]:
    rows = shares(facts, DEPARTURES.name, dimensions).collect()
    assert {(row["ds"], row["source"]) for row in rows} == {(DS, DEPARTURES.name)}
    return {row["dimension"]: row["value"] for row in rows}


def test_a_delay_that_is_not_the_difference_of_its_times_is_inaccurate(spark: SparkSession) -> None:
    facts = departures(spark, flight(1, 5), flight(2, -3), flight(3, 7, late=1), flight(4))
    assert values(facts, accuracy=accuracy(USE_CASE.quality.accuracy["departures"])) == {"accuracy": 0.75}


def test_a_condition_that_a_null_leaves_open_counts_as_held(spark: SparkSession) -> None:
    facts = departures(spark, flight(1, tail=None), flight(2))
    assert values(facts, accuracy=accuracy("tailnum = 'N1'")) == {"accuracy": 1.0}


def test_completeness_counts_what_may_be_empty(spark: SparkSession) -> None:
    facts = departures(spark, flight(1), flight(2, tail=None), flight(3, tail=None), flight(4))
    assert values(facts, completeness=completeness(DEPARTURES)) == {"completeness": 0.5}


def test_completeness_leaves_out_what_says_something_by_being_empty(spark: SparkSession) -> None:
    facts = departures(spark, flight(1), flight(2, tail=None))
    assert values(facts, completeness=completeness(DEPARTURES, ["tailnum"])) == {"completeness": 1.0}


def test_a_fact_agrees_with_its_subject_in_every_shared_field(spark: SparkSession) -> None:
    # f1 equal (an aircraft that is missing on both sides is equal), f2 to another destination, f3 of nobody
    subjects = departures(spark, flight(1, tail=None), flight(2, dest="ORD"))
    facts = departures(spark, flight(1, 5, tail=None), flight(2, 5), flight(3))
    beside = beside_subjects(facts, DEPARTURES, subjects, SCHEDULE)
    assert values(beside, consistency=consistency(DEPARTURES, SCHEDULE, 0)) == {"consistency": 1 / 3}


def test_a_fact_speaks_of_a_subject_that_was_announced_by_its_day(spark: SparkSession) -> None:
    announced = ["2013-01-02", "2013-01-03", "2013-01-05", "2013-01-06"]
    subjects = departures(spark, *((*flight(number)[:-1], day) for number, day in enumerate(announced)))
    facts = departures(spark, *(flight(number) for number in range(4)))
    beside = beside_subjects(facts, DEPARTURES, subjects, SCHEDULE)
    found = beside.where(consistency(DEPARTURES, SCHEDULE, 2)).select("id").collect()
    assert sorted(row["id"] for row in found) == ["f1", "f2"]


def test_rows_count_as_timely_by_their_file() -> None:
    files = [
        {"ds": DS, "source": "a", "landing_key": key, "rows": rows, "ingested_at": AT + timedelta(hours=hours)}
        for key, rows, hours in [("x", 30, 1), ("y", 10, 30), ("gone", 99, 0)]
    ]
    assert timeliness(files, {"x": AT, "y": AT}, timedelta(hours=24)) == [(DS, "a", "timeliness", 0.75)]


def test_rows_that_nobody_can_read_are_missed() -> None:
    lines = [{"ds": DS, "source": "a", "ingested": 8}, {"ds": DS, "source": "b", "ingested": 0}]
    assert accessibility({(DS, "a"): 6}, lines) == [(DS, "a", "accessibility", 0.75)]
