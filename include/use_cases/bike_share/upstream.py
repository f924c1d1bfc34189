"""The hires of 2011 as upstream systems would have told them: immutable facts, each with its times in UTC.

The data (``Bikeshare`` of the package ISLP, BSD licence; it is read by path, not imported) has one row for an hour of
Washington, by day of the year and local clock (America/New_York). In UTC:

- An ordinary row is the hour from that clock time on.
- In the night that clocks go forward (13 March) there is no 02:00; the data has no row for it. If a row were there, it
  would have no hour and be left out.
- In the night that they go back (6 November) 01:00 comes twice, 05:00 and 06:00 UTC; the data has one row, whose 115
  hires are those of both hours. So its count begins at 05:00 and ends at 07:00, and its weather is that of 05:00.
- Rows are missing (114): hours of night without a hire, since no row has 0, and some days of snow and storm.
  The calendar has every hour; one without a row has neither hires nor weather.

It does not know where the facts go (see ``feeder``).
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from include.contracts.contract import Contract
from include.contracts.validator import available_at, text_of
from include.data_package import data_folder_of
from include.use_cases.bike_share.contracts import CITIES, CONDITIONS, HIRES, HOURS, SOURCES, WEATHER
from include.use_cases.bike_share.redating import source_day

Row = dict[str, Any]

ZONE = ZoneInfo("America/New_York")
NEW_YEAR = date(2011, 1, 1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class LocalHour:
    """One row of the data: what the city's clocks called ``hour`` on a day."""

    day: date
    hour: int
    holiday: int
    working_day: int
    weather: Row
    casual: int
    registered: int
    total: int


@cache
def read_year() -> dict[date, tuple[LocalHour, ...]]:
    """The rows of each local day of 2011, in order."""
    with (data_folder_of("ISLP") / "Bikeshare.csv").open(newline="") as file:
        rows = map(_local_hour, csv.DictReader(file))
        return {day: tuple(hours) for day, hours in groupby(rows, key=lambda row: row.day)}


def _local_hour(row: dict[str, str]) -> LocalHour:
    measured = {"temperature": "temp", "feels_like": "atemp", "humidity": "hum", "wind_speed": "windspeed"}
    return LocalHour(
        day=NEW_YEAR + (int(row["day"]) - 1) * DAY,
        hour=int(row["hr"]),
        holiday=int(row["holiday"]),
        working_day=int(row["workingday"]),
        weather={
            "condition": CONDITIONS[row["weathersit"]],
            **{name: float(row[column]) for name, column in measured.items()},
        },
        casual=int(row["casual"]),
        registered=int(row["registered"]),
        total=int(row["bikers"]),
    )


def span_of(day: date, hour: int) -> tuple[datetime, datetime] | None:
    """Begin and end (UTC) of what Washington's clocks call ``hour`` on a local day.

    Two hours where they show it twice; None where they leave it out.
    """
    first, last = (datetime.combine(day, time(hour, fold=fold), ZONE).astimezone(UTC) for fold in (0, 1))
    return (first, last + HOUR) if first <= last else None


def hours_of(day: date) -> Iterator[datetime]:
    """The hours (UTC) that lie in a local day of Washington: 24, or 23 or 25 when the clocks change."""
    begin, end = (datetime.combine(at, time(), ZONE).astimezone(UTC) for at in (day, day + DAY))
    while begin < end:
        yield begin
        begin += HOUR


def facts(first: date, last: date, redated: bool = False) -> dict[str, list[tuple[str, Row]]]:
    """Source -> (``ds``, fact as a JSON object) of all facts that become known on the days ``first`` to ``last`` (UTC).

    In the order of availability. ``redated``: the days are any days, filled with those of 2011 (see ``redating``).
    """
    known: dict[str, list[tuple[datetime, Row]]] = {contract.name: [] for contract in SOURCES}
    # A local day's facts become known on the day before it (the calendar) to the day after it.
    for number in range(-1, (last - first).days + 2):
        day = first + number * DAY
        rows = read_year().get(source_day(day) if redated else day, ())
        for contract, fact in _of_day(day, rows):
            available = available_at(fact, contract)
            assert available is not None
            if first <= available.date() <= last:
                known[contract.name].append((available, _as_json(fact)))
    ordered = {source: sorted(rows, key=lambda found: (found[0], found[1]["id"])) for source, rows in known.items()}
    return {source: [(at.date().isoformat(), row) for at, row in rows] for source, rows in ordered.items()}


def _of_day(day: date, rows: tuple[LocalHour, ...]) -> Iterator[tuple[Contract, Row]]:
    """Every fact about the hours of a local day that the data has."""
    if not rows:
        return
    for starts_at in hours_of(day):
        yield HOURS, {**_identity(starts_at), "holiday": rows[0].holiday, "working_day": rows[0].working_day}
    for row in rows:
        if span := span_of(day, row.hour):
            begin, end = span
            counts = {"casual": row.casual, "registered": row.registered, "total": row.total}
            yield HIRES, {**_identity(begin), "working_day": row.working_day, "ends_at": end, **counts}
            yield WEATHER, {**_identity(begin), **row.weather}


def _identity(starts_at: datetime) -> Row:
    return {
        "id": f"{starts_at:%Y%m%dT%H%MZ}",
        "city": CITIES[0],
        "starts_at": starts_at,
        "hour_of_day": starts_at.astimezone(ZONE).hour,
    }


def _as_json(fact: Row) -> Row:
    return {name: text_of(value) if isinstance(value, datetime) else value for name, value in fact.items()}
