"""The flights of 2013 as if they flew today: every time moved by whole weeks, ids along with them.

A re-dated year is a *cycle* of 52 weeks: 364 days, so that weekdays stay what they are and cycles follow each other
without a gap, for ever; 31 December 2013 is left out. How far a day is moved depends on the day alone, so that a feeder
that starts again tomorrow goes on with the same facts. Times are UTC; around a change of the clocks local hours may
be off by one, for a few days.
"""

from datetime import date, timedelta

import numpy as np
import pandas as pd

from include.use_cases.flight_delay import upstream

CYCLE_WEEKS = 52
CYCLE_DAYS = 7 * CYCLE_WEEKS
FIRST_SOURCE_DAY = date(2013, 1, 1)
#: A Tuesday, like the first of 2013, in the season of the first of 2013: cycles are counted from here, both ways.
FIRST_CYCLE = date(2025, 12, 30)
#: Facts follow their scheduled departure by up to two days, and precede it by one.
REACH = timedelta(days=3)


def cycle_of(day: date) -> int:
    """The number of the cycle that a re-dated day lies in; the one from ``FIRST_CYCLE`` on is 0."""
    return (day - FIRST_CYCLE).days // CYCLE_DAYS


def shift_of(cycle: int) -> timedelta:
    """How far the flights of 2013 are moved in a cycle: whole weeks."""
    return FIRST_CYCLE - FIRST_SOURCE_DAY + timedelta(weeks=CYCLE_WEEKS * cycle)


def source_day(day: date) -> date:
    """The day of 2013 (1 January to 30 December) whose flights a re-dated day has: same weekday."""
    return day - shift_of(cycle_of(day))


def redated_facts(first: date, last: date, tables: upstream.Upstream | None = None) -> dict[str, pd.DataFrame]:
    """Source name -> the facts that become known on the re-dated days ``first`` to ``last``, and some around them."""
    year = tables or upstream.read_upstream(upstream.data_folder())
    cycles = range(cycle_of(first - REACH), cycle_of(last + REACH) + 1)
    parts = [_moved_cycle(year, cycle, first, last) for cycle in cycles]
    flights, observed = (pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True))
    return upstream.facts_from(flights, observed)


def _moved_cycle(year: upstream.Upstream, cycle: int, first: date, last: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    shift = shift_of(cycle)
    near = upstream.scheduled_around(year, first - shift, last - shift)
    return moved_flights(upstream.timed_flights(near), shift), moved_observations(
        upstream.observations(near.weather), shift
    )


def moved_flights(flights: pd.DataFrame, shift: timedelta) -> pd.DataFrame:
    """Timed flights of the source days, every time later by ``shift``, with the ids that go with the new times."""
    moved = _moved(flights, "scheduled_departure", shift)
    return moved.assign(id=upstream.flight_ids(moved, moved["scheduled_departure"]))


def moved_observations(observed: pd.DataFrame, shift: timedelta) -> pd.DataFrame:
    """Observations of the source days, later by ``shift``, with the ids that go with the new times."""
    moved = _moved(observed, "observed_at", shift)
    return moved.assign(id=upstream.observation_ids(moved, moved["observed_at"]))


def _moved(table: pd.DataFrame, time: str, shift: timedelta) -> pd.DataFrame:
    """Only the rows whose ``time`` lies in the source days of a cycle, all their times moved."""
    days = table[time].dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    inside = (days >= np.datetime64(FIRST_SOURCE_DAY)) & (days < np.datetime64(FIRST_SOURCE_DAY) + CYCLE_DAYS)
    chosen: pd.DataFrame = table[inside]
    columns = chosen.select_dtypes("datetimetz").columns
    moved: pd.DataFrame = chosen.assign(**{name: chosen[name] + pd.Timedelta(shift) for name in columns})
    return moved
