"""The flights of 2013 moved to other years: weekdays kept, whole weeks, one order, ids that follow their times."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from include.contracts.validator import Valid, validate
from include.use_case import load_use_case
from include.use_cases.flight_delay import upstream
from include.use_cases.flight_delay.redating import (
    CYCLE_DAYS,
    FIRST_CYCLE,
    cycle_of,
    redated_facts,
    shift_of,
    source_day,
)

USE_CASE = load_use_case("flight_delay")
DAYS = st.dates(date(2014, 1, 1), date(2060, 1, 1))
SEAM = FIRST_CYCLE + timedelta(days=CYCLE_DAYS)


@pytest.fixture(scope="module")
def year() -> upstream.Upstream:
    return upstream.read_upstream(upstream.data_folder())


@given(DAYS)
@example(SEAM)
@example(SEAM - timedelta(days=1))
def test_a_day_is_moved_by_whole_weeks_from_a_day_of_2013(day: date) -> None:
    source = source_day(day)
    assert source.weekday() == day.weekday()
    assert (day - source).days % 7 == 0
    assert date(2013, 1, 1) <= source <= date(2013, 12, 30)


@given(DAYS)
def test_days_follow_each_other_within_a_cycle_and_cycles_without_a_gap(day: date) -> None:
    following = day + timedelta(days=1)
    if cycle_of(following) == cycle_of(day):
        assert source_day(following) - source_day(day) == timedelta(days=1)
    else:
        assert cycle_of(following) == cycle_of(day) + 1
        assert (source_day(day), source_day(following)) == (date(2013, 12, 30), date(2013, 1, 1))


def test_in_2026_seasons_agree() -> None:
    assert abs((source_day(date(2026, 11, 24)).replace(year=2026) - date(2026, 11, 24)).days) <= 3


def between(facts: dict[str, pd.DataFrame], first: date, last: date) -> dict[str, pd.DataFrame]:
    return {s: t[t["ds"].between(first.isoformat(), last.isoformat())] for s, t in facts.items()}


@settings(max_examples=5)
@given(st.dates(date(2026, 1, 8), date(2026, 12, 20)))
def test_a_re_dated_day_has_the_facts_of_its_source_day(year: upstream.Upstream, day: date) -> None:
    shift = pd.Timedelta(shift_of(cycle_of(day)))
    source = source_day(day)
    wanted = between(upstream.all_facts(upstream.scheduled_around(year, source, source)), source, source)
    found = between(redated_facts(day, day, year), day, day)
    for contract in USE_CASE.sources:
        name = contract.name
        assert len(found[name]) == len(wanted[name]) > 0 or name == "cancellations"
        back = found[name].select_dtypes("datetimetz") - shift
        times = wanted[name].select_dtypes("datetimetz")
        assert sorted(map(tuple, back.to_numpy())) == sorted(map(tuple, times.to_numpy()))


def test_ids_change_along_with_their_times(year: upstream.Upstream) -> None:
    facts = redated_facts(date(2026, 11, 24), date(2026, 11, 24), year)
    for row in facts["departures"].head(200).to_dict("records"):
        assert row["id"].endswith(f"-{row['scheduled_departure']:%Y%m%dT%H%MZ}")
    for row in facts["weather"].head(50).to_dict("records"):
        assert row["id"].endswith(f"-{row['observed_at']:%Y%m%dT%H%MZ}")


def test_the_seam_of_two_cycles_has_every_fact_once_and_all_satisfy_their_contracts(year: upstream.Upstream) -> None:
    found = between(redated_facts(SEAM - timedelta(days=1), SEAM + timedelta(days=1), year), SEAM, SEAM)
    assert all(table["id"].is_unique for table in found.values())
    assert len(found["departures"]) > 500
    rows: list[dict[str, Any]] = found["departures"].to_dict("records")
    assert all(isinstance(validate(row, USE_CASE.source("departures")), Valid) for row in rows)
    assert {f"{row['scheduled_departure']:%Y}" for row in rows} == {str(SEAM.year)}
