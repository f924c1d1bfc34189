"""Hired bikes: real rows keep their contracts and hours, no feature knows what nobody could know, labels are counts.

The data is read here a second time, plainly, so that what is expected does not come from the code that is tested.
"""

import csv
import gzip
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from statistics import mean
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from include.data_package import data_folder_of
from include.quality import shortfalls
from include.spark_jobs.assess_quality import fact_shares
from include.use_case import load_use_case
from include.use_cases.bike_share import feeder, replay, upstream
from include.use_cases.bike_share.labels import labels
from include.use_cases.bike_share.redating import source_day
from tests.use_cases.rules import (
    Facts,
    broken_contracts,
    features_at,
    known_before,
    known_too_early,
    labels_of,
    raw_facts,
)

USE_CASE = load_use_case("bike_share")
WASHINGTON = ZoneInfo("America/New_York")
HOUR = timedelta(hours=1)
#: The first day that anything is known, and the last.
FIRST, LAST = date(2010, 12, 31), date(2012, 1, 1)
#: The day of the year of a Wednesday, 18 May; and that day at 10:00 by Washington's clocks, just after a tile border.
WEDNESDAY = 138
TEN = datetime(2011, 5, 18, 14, 0, 30, tzinfo=UTC)
#: The subject: 11:00 to 12:00 of that day.
ELEVEN = "20110518T1500Z"


def rows_of_data() -> list[dict[str, str]]:
    with (data_folder_of("ISLP") / "Bikeshare.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data() -> dict[tuple[int, int], int]:
    """Day of the year and local hour -> bikes hired."""
    return {(int(row["day"]), int(row["hr"])): int(row["bikers"]) for row in rows_of_data()}


@pytest.fixture(scope="module")
def year() -> Facts:
    return replay.facts(FIRST, LAST)


@pytest.fixture(scope="module")
def week() -> Facts:
    """What the features of 18 May need, and the day itself."""
    return replay.facts(date(2011, 5, 10), date(2011, 5, 18))


def local(row: Mapping[str, Any]) -> datetime:
    """The time that Washington's clocks show when a fact's hour starts."""
    return datetime.fromisoformat(row["starts_at"]).astimezone(WASHINGTON)


def test_every_row_is_a_fact_that_keeps_its_contract(year: Facts) -> None:
    assert broken_contracts(USE_CASE, year) == []
    assert {source: len(rows) for source, rows in year.items()} == {"hours": 8760, "hires": 8645, "weather": 8645}
    for rows in year.values():
        assert len({row["id"] for row in rows}) == len(rows)
    assert known_too_early(USE_CASE, year) == []


def test_the_calendar_has_every_hour_of_the_year(year: Facts) -> None:
    starts = [datetime.fromisoformat(row["starts_at"]) for row in year["hours"]]
    begin = datetime(2011, 1, 1, tzinfo=WASHINGTON)
    assert starts == [begin.astimezone(UTC) + n * HOUR for n in range(8760)]
    assert {row["id"] for row in year["hires"]} < {row["id"] for row in year["hours"]}
    holidays = {f"{local(row):%m-%d}" for row in year["hours"] if row["holiday"]}
    assert holidays == {"01-17", "02-21", "04-15", "05-30", "07-04", "09-05", "10-10", "11-11", "11-24", "12-26"}
    for row in year["hours"]:
        assert row["working_day"] == int(local(row).weekday() < 5 and not row["holiday"])


def test_facts_say_what_the_data_says_of_the_hour_that_clocks_showed(year: Facts) -> None:
    expected = {
        (int(row["day"]), int(row["hr"])): (row["bikers"], row["casual"], row["temp"], row["hum"], row["workingday"])
        for row in rows_of_data()
    }
    found = {}
    for hires, weather in zip(year["hires"], sorted(year["weather"], key=lambda row: row["id"]), strict=True):
        assert hires["id"] == weather["id"] == f"{datetime.fromisoformat(hires['starts_at']):%Y%m%dT%H%MZ}"
        clock = local(hires)
        assert clock.hour == hires["hour_of_day"] == weather["hour_of_day"]
        found[int(f"{clock:%j}"), clock.hour] = (
            *(str(hires[name]) for name in ("total", "casual")),
            *(f"{weather[name]:g}" for name in ("temperature", "humidity")),
            str(hires["working_day"]),
        )
    assert found == {key: (a, b, f"{float(c):g}", f"{float(d):g}", e) for key, (a, b, c, d, e) in expected.items()}


@pytest.mark.parametrize(
    ("day", "hour", "begin", "end"),
    [
        (date(2011, 1, 29), 8, "2011-01-29T13:00", "2011-01-29T14:00"),
        (date(2011, 7, 4), 23, "2011-07-05T03:00", "2011-07-05T04:00"),
        (date(2011, 3, 13), 1, "2011-03-13T06:00", "2011-03-13T07:00"),
        (date(2011, 3, 13), 3, "2011-03-13T07:00", "2011-03-13T08:00"),
        (date(2011, 11, 6), 0, "2011-11-06T04:00", "2011-11-06T05:00"),
        (date(2011, 11, 6), 1, "2011-11-06T05:00", "2011-11-06T07:00"),
        (date(2011, 11, 6), 2, "2011-11-06T07:00", "2011-11-06T08:00"),
    ],
)
def test_clock_hours_in_utc(day: date, hour: int, begin: str, end: str) -> None:
    assert upstream.span_of(day, hour) == tuple(datetime.fromisoformat(f"{text}+00:00") for text in (begin, end))


def test_an_hour_that_clocks_leave_out_is_none() -> None:
    assert upstream.span_of(date(2011, 3, 13), 2) is None


@given(st.dates(date(2008, 1, 1), date(2035, 1, 1)))
def test_the_clock_hours_of_a_day_are_its_hours_without_a_gap(day: date) -> None:
    spans = [span for hour in range(24) if (span := upstream.span_of(day, hour))]
    hours = list(upstream.hours_of(day))
    assert [begin for begin, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert (spans[0][0], spans[-1][1]) == (hours[0], hours[-1] + HOUR)
    assert len(hours) in {23, 24, 25}


def test_files_are_the_same_bytes_every_time_and_hold_the_facts() -> None:
    first, last = date(2011, 3, 12), date(2011, 3, 14)
    files = list(feeder.day_files(USE_CASE.name, first, last))
    assert files == list(feeder.day_files(USE_CASE.name, first, last))
    assert files[-3:] == list(feeder.day_files(USE_CASE.name, last, last))
    landed = [json.loads(line) for file in files for line in gzip.decompress(file.content).decode().splitlines()]
    facts = replay.facts(first, last)
    assert sorted(landed, key=str) == sorted((row for rows in facts.values() for row in rows), key=str)
    assert files[0].key == "bike_share/hours/ds=2011-03-12/part-0.jsonl.gz"
    assert feeder.reference_files(USE_CASE.name) == {}


def test_days_of_any_year_have_a_day_of_2011_with_the_same_weekday() -> None:
    first, last = date(2027, 1, 1), date(2027, 1, 3)  # over the seam of two cycles
    facts = replay.facts(first, last, redated=True)
    assert broken_contracts(USE_CASE, facts) == []
    starts = [datetime.fromisoformat(row["starts_at"]) for row in facts["hours"]]
    assert starts == [datetime(2027, 1, 2, tzinfo=UTC) + n * HOUR for n in range(72)]
    assert len(facts["hires"]) > 60


@given(st.dates(date(2012, 1, 1), date(2060, 1, 1)))
def test_a_redated_day_is_moved_by_whole_weeks(day: date) -> None:
    source = source_day(day)
    assert (day - source).days % 7 == 0 and date(2011, 1, 1) <= source <= date(2011, 12, 30)


def test_features_by_hand(spark: SparkSession, week: Facts, data: dict[tuple[int, int], int]) -> None:
    """What is counted when it is 10:00: the hour that began at 8:00 ended before, that from 9:00 on ends just now."""
    found = features_at(spark, USE_CASE, week, {}, TEN)[ELEVEN]
    day = [data[WEDNESDAY - 1, hour] for hour in range(9, 24)] + [data[WEDNESDAY, hour] for hour in range(9)]
    known = [count for (at, hour), count in data.items() if (131, 9) <= (at, hour) < (WEDNESDAY, 9)]
    at_eleven = {at: data[at, 11] for at in range(131, WEDNESDAY)}
    expected = {
        "hires_1h": 453.0,
        "hires_2h": 453.0 + 274,
        "hires_3h": 453.0 + 274 + 101,
        "hires_6h": 453.0 + 274 + 101 + 9 + 3 + 9,
        "hires_24h": float(sum(day)),
        "hires_trend": 453.0 - 274,
        "hires_to_yesterday": 453 / 347,
        "hires_to_week": mean(day) / mean(known),
        "casual_share_3h": (25 + 14 + 2) / (453 + 274 + 101),
        "same_hour_yesterday": 130.0,
        "same_hour_last_week": 141.0,
        "usual_at_hour": mean(at_eleven.values()),
        "usual_of_kind": mean(count for at, count in at_eleven.items() if at not in (134, 135)),
        "usual": mean(known),
        "weather_condition": 1.0,
        "weather_temperature": 0.56,
        "weather_feels_like": 0.5303,
        "weather_humidity": 0.88,
        "weather_wind_speed": 0.2836,
        "weather_age": 60.0,
        "hour_of_day": 11.0,
        "day_of_week": 2.0,
        "working_day": 1.0,
        "holiday": 0.0,
    }
    assert {name: float(found[name]) for name in expected} == pytest.approx(expected)
    assert found["hour_of_kind"] == "11 working"
    assert set(found) == {*expected, "casual_share_24h", "hour_of_kind"}


def test_features_follow_what_was_known_and_nothing_later(spark: SparkSession, week: Facts) -> None:
    everything = features_at(spark, USE_CASE, week, {}, TEN)
    # The tile of the prediction time's own minute does not count; the subjects themselves may be announced later.
    known = known_before(USE_CASE, week, TEN.replace(second=0))
    assert len(everything) > 20
    assert everything == features_at(spark, USE_CASE, {**known, "hours": week["hours"]}, {}, TEN)
    # Asked three hours ahead, the same hour of yesterday is not where the windows look for it.
    assert everything["20110518T1700Z"]["same_hour_yesterday"] == "nan"


def changed(facts: Facts, source: str, of_hour: datetime, **values: Any) -> Facts:
    """The facts with other values for every hour from one on."""
    begin = f"{of_hour:%Y-%m-%dT%H:%M:%SZ}"
    rows = [{**row, **values} if row["starts_at"] >= begin else row for row in facts[source]]
    return {**facts, source: rows}


@pytest.mark.parametrize(
    ("source", "values"),
    [("hires", {"casual": 900, "total": 2000}), ("weather", {"condition": 4, "temperature": 0.01, "wind_speed": 1.0})],
)
def test_other_facts_at_or_after_the_prediction_change_nothing_and_one_before_does(
    spark: SparkSession, week: Facts, source: str, values: dict[str, Any]
) -> None:
    def features(of_hour: datetime) -> dict[str, Any]:
        return features_at(spark, USE_CASE, changed(week, source, of_hour, **values), {}, TEN)[ELEVEN]

    base = features_at(spark, USE_CASE, week, {}, TEN)[ELEVEN]
    nine = TEN.replace(hour=13, second=0)
    assert features(nine) == base
    moved = {name for name, value in features(nine - HOUR).items() if value != base[name]}
    assert moved >= ({"hires_1h", "hires_24h", "usual"} if source == "hires" else {"weather_condition"})


@pytest.mark.parametrize("day", [date(2011, 5, 18), date(2011, 1, 18), date(2011, 3, 13), date(2011, 11, 6)])
def test_labels_are_what_the_data_counts(spark: SparkSession, day: date, data: dict[tuple[int, int], int]) -> None:
    """An ordinary day, one with hours that nobody counted, and those on which clocks change."""
    around = timedelta(days=1)
    facts = replay.facts(day - around, day + 2 * around)
    found = labels_of(spark, USE_CASE, facts, day)
    assert {name: label for name, (label, _) in found.items()} == replay.outcomes(day, day)
    asked = [
        row
        for row in facts["hours"]
        if (datetime.fromisoformat(row["starts_at"]) - HOUR).date() == day and row["id"] not in not_counted_alone()
    ]
    expected = {row["id"]: data.get((local(row).timetuple().tm_yday, local(row).hour)) for row in asked}
    assert {name: label for name, (label, _) in found.items()} == {k: v for k, v in expected.items() if v is not None}
    for label, outcome in found.values():
        assert outcome == ("quiet" if label < 30 else "usual" if label < 200 else "busy")


def not_counted_alone() -> set[str]:
    """The two hours of 2011 that clocks called 01:00."""
    return {"20111106T0500Z", "20111106T0600Z"}


def test_every_counted_hour_of_the_year_has_its_count_as_outcome(data: dict[tuple[int, int], int]) -> None:
    outcomes = replay.outcomes(FIRST, LAST)
    assert len(outcomes) == len(data) - 1
    assert sum(outcomes.values()) == sum(data.values()) - data[310, 1]


def test_a_count_is_a_label_only_of_the_days_that_it_is_given_for(spark: SparkSession) -> None:
    begin, end = datetime(2011, 5, 1, 9, tzinfo=UTC), datetime(2011, 5, 1, 10, tzinfo=UTC)
    schema = "label_day string, id string, starts_at timestamp, ends_at timestamp, total bigint"
    facts: dict[str, DataFrame] = {
        "hours": spark.createDataFrame([("1", "early"), ("2", "late")], "label_day string, id string"),
        "hires": spark.createDataFrame([("2", "early", begin, end, 7), ("2", "late", begin, end, 200)], schema),
    }
    assert [tuple(row) for row in labels(facts).collect()] == [("2", "late", 200, "busy")]


def test_every_day_of_the_year_can_be_trained_on(spark: SparkSession, year: Facts) -> None:
    raw = {contract.name: raw_facts(spark, contract, year[contract.name]).cache() for contract in USE_CASE.sources}
    shares = [row.asDict() for row in fact_shares(USE_CASE, raw, raw["hours"]).collect()]
    assert len({row["ds"] for row in shares}) == 367
    exact = {"accuracy", "consistency"}
    assert [row for row in shares if row["dimension"] in exact and row["value"] != 1] == []
    now = datetime.now(UTC)
    assert shortfalls([{**row, "time": now} for row in shares], USE_CASE.quality.thresholds) == []


def test_statistics_add_up_to_the_facts(spark: SparkSession, week: Facts) -> None:
    raw = {"hires": raw_facts(spark, USE_CASE.source("hires"), week["hires"])}
    total = sum(row["total"] for row in week["hires"])
    for statistics in USE_CASE.serving.statistics.values():
        rows = statistics(raw).collect()
        assert sum(row["hired"] for row in rows) == total
        assert all(0 <= row["casual_share"] <= 1 and row["ds"].startswith("2011-05-") for row in rows)
    (busiest,) = (row for row in rows if row["ds"] == "2011-05-17")
    assert busiest["hours_counted"] == 24
    assert busiest["busiest_hour"] == max(
        row["total"] for row in week["hires"] if row["starts_at"].startswith("2011-05-17")
    )
