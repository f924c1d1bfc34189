"""The facts of 2013: counts, time zones, clock changes, diverted flights; and the landing files made of them."""

import gzip
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.exceptions import ClientError

from include.contracts.validator import Valid, validate
from include.landing_writer import DayFile, LandingConflict, land
from include.use_case import load_use_case
from include.use_cases.flight_delay import feeder, upstream
from include.use_cases.flight_delay.features import new_york_time

USE_CASE = load_use_case("flight_delay")


@pytest.fixture(scope="module")
def tables() -> upstream.Upstream:
    return upstream.read_upstream(upstream.data_folder())


def facts_between(tables: upstream.Upstream, first: date, last: date) -> dict[str, pd.DataFrame]:
    """The facts that became known on these days."""
    found = upstream.all_facts(upstream.scheduled_around(tables, first, last))
    return {s: t[(t["ds"] >= first.isoformat()) & (t["ds"] <= last.isoformat())] for s, t in found.items()}


def times(*texts: str) -> "pd.Series[pd.Timestamp]":
    return pd.Series(pd.to_datetime(list(texts), utc=True))


def first_after(time: str, clock: float, zone: str) -> str:
    """One call of the function under test, as text."""
    found = upstream.first_after(times(time), pd.Series([clock]), pd.Series([zone]))
    return upstream.utc_text(found, "s")[0]


def test_the_year_has_every_flight(tables: upstream.Upstream) -> None:
    facts = upstream.all_facts(tables)
    counts = {source: len(table) for source, table in facts.items()}
    assert counts == {
        "schedule": 336776, "departures": 328521, "arrivals": 327346, "cancellations": 8255, "weather": 26115
    }  # fmt: skip
    assert facts["schedule"]["tailnum"].isna().sum() == 2512
    assert all(table["id"].is_unique and table["ds"].is_monotonic_increasing for table in facts.values())
    assert (facts["schedule"]["ds"].min(), facts["schedule"]["ds"].max()) == ("2012-12-31", "2013-12-31")
    check_times(facts)


def check_times(facts: dict[str, pd.DataFrame]) -> None:
    """What must hold between the times of every flight of the year."""
    flights = facts["arrivals"].merge(facts["departures"], on="id", suffixes=("", "_left"))
    assert len(flights) == len(facts["arrivals"])
    minutes = (flights["actual_arrival"] - flights["actual_departure"]).dt.total_seconds() / 60
    assert minutes.between(25, 800).all()
    delay = (flights["actual_arrival"] - flights["scheduled_arrival"]).dt.total_seconds() / 60
    assert (delay != flights["arrival_delay"]).sum() == 1  # the data itself disagrees once, by three minutes
    assert (facts["departures"]["departure_delay"] >= -43).all()


def test_a_span_of_days_has_the_same_facts_as_the_year(tables: upstream.Upstream) -> None:
    first, last = date(2013, 3, 9), date(2013, 3, 11)
    near = facts_between(tables, first, last)
    wide = facts_between(tables, date(2013, 3, 1), date(2013, 3, 20))
    for source, table in near.items():
        chosen = wide[source][wide[source]["ds"].between(first.isoformat(), last.isoformat())]
        pd.testing.assert_frame_equal(table.reset_index(drop=True), chosen.reset_index(drop=True))


@pytest.mark.parametrize(
    ("time", "clock", "zone", "expected"),
    [
        ("2013-01-29T10:15:00Z", 830, "America/New_York", "2013-01-29T13:30:00Z"),
        ("2013-01-29T10:15:00Z", 819, "America/Chicago", "2013-01-29T14:19:00Z"),
        ("2013-01-30T03:00:00Z", 15, "America/New_York", "2013-01-30T05:15:00Z"),  # after midnight
        ("2013-01-30T03:00:00Z", 2400, "America/New_York", "2013-01-30T05:00:00Z"),
        ("2013-03-10T05:30:00Z", 330, "America/New_York", "2013-03-10T07:30:00Z"),  # over the lost hour
        ("2013-11-03T04:30:00Z", 130, "America/New_York", "2013-11-03T05:30:00Z"),  # the first 01:30
        ("2013-11-03T05:45:00Z", 130, "America/New_York", "2013-11-03T06:30:00Z"),  # the first is over
        ("2013-07-01T12:00:00Z", 1200, "America/Puerto_Rico", "2013-07-01T16:00:00Z"),
    ],
)
def test_first_time_that_clocks_show(time: str, clock: float, zone: str, expected: str) -> None:
    assert first_after(time, clock, zone) == expected


def test_new_york_time_is_that_of_the_time_zone_database() -> None:
    hours = pd.date_range("2010-01-01", "2030-01-01", freq="h", tz="UTC")
    expected = hours.tz_convert("America/New_York").tz_localize(None).to_numpy().astype("datetime64[s]")
    found = new_york_time(hours.tz_localize(None).to_numpy().astype("datetime64[s]"))
    np.testing.assert_array_equal(found, expected)


def test_a_diverted_flight_has_left_and_never_arrives(tables: upstream.Upstream) -> None:
    flights = tables.flights
    january = flights["time_hour"].str[:7] == "2013-01"
    diverted = flights[january & flights["dep_delay"].notna() & flights["arr_delay"].isna()]
    facts = facts_between(tables, date(2012, 12, 31), date(2013, 2, 3))
    gone = set(facts["departures"]["id"]) - set(facts["arrivals"]["id"])
    assert len({name for name in gone if "-201301" in name}) == len(diverted) > 0
    assert not set(facts["cancellations"]["id"]) & set(facts["departures"]["id"])


def test_every_fact_keeps_its_contract_but_one(tables: upstream.Upstream) -> None:
    rejected = []
    for source, table in facts_between(tables, date(2013, 2, 11), date(2013, 2, 13)).items():
        texts = feeder.as_text(table).drop(columns="ds").astype(object)
        for record in texts.where(texts.notna(), None).to_dict("records"):
            verdict = validate({str(name): value for name, value in record.items()}, USE_CASE.source(source))
            rejected += [] if isinstance(verdict, Valid) else verdict
    assert rejected == ["wind_speed_mph: '1048.36058' is above 250"]


def test_files_are_the_same_bytes_every_time_and_empty_days_have_a_header(tables: upstream.Upstream) -> None:
    first, last = date(2012, 12, 31), date(2013, 1, 1)
    facts = facts_between(tables, first, last)
    files = list(feeder.day_files(facts, first, last))
    assert files == list(feeder.day_files(facts_between(tables, first, last), first, last))
    assert len(files) == 10 and sum(file.rows for file in files) == sum(len(table) for table in facts.values())
    departures = next(file for file in files if file.source == "departures")
    assert departures.key == "flight_delay/departures/ds=2012-12-31/part-0.csv.gz"
    header = ",".join(USE_CASE.source("departures").field_names) + "\n"
    assert gzip.decompress(departures.content).decode() == header


class FakeBucket:
    """Stands for S3: conditional puts and gets in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str) -> None:  # noqa: N803
        if Key in self.objects:
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 412}}, "PutObject")  # type: ignore[typeddict-item]
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        content = self.objects[Key]
        return {"Body": type("Body", (), {"read": lambda self: content})()}


def test_landing_writes_once_and_never_replaces() -> None:
    bucket = FakeBucket()
    file = DayFile("flight_delay", "weather", date(2013, 1, 1), "part-0.csv.gz", 1, b"one")
    assert land(bucket, file) and not land(bucket, file)
    assert list(bucket.objects) == [file.key, file.marker]
    with pytest.raises(LandingConflict, match=r"part-0\.csv\.gz exists with other content"):
        land(bucket, replace(file, rows=2, content=b"two"))


def test_references_are_landed_with_missing_values_empty() -> None:
    files = feeder.reference_files(upstream.data_folder())
    assert set(files) == {"flight_delay/references/planes.csv.gz", "flight_delay/references/airports.csv.gz"}
    lines = gzip.decompress(files["flight_delay/references/planes.csv.gz"]).decode().splitlines()
    assert len(lines) == 3323 and "NA" not in lines[1].split(",")
