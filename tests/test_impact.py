"""Which days depend on a source's facts: no further than windows, announcements and horizons reach, and no nearer."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from include.impact import days_to_derive, derivable, history_of, impact_of, left_behind, ranges, span
from include.tiles.spec import days_of_history
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
DAY = date(2013, 3, 10)
SOURCES = [contract.name for contract in USE_CASE.sources]


@pytest.mark.parametrize("source", SOURCES)
def test_what_depends_on_a_day_reaches_as_far_as_windows_and_horizon(source: str) -> None:
    found = impact_of(USE_CASE, source, DAY)
    ahead = USE_CASE.source(source).announced_days
    windows = [w for w in USE_CASE.features.windows if w.tile.source == source]
    assert found.features == (DAY, DAY + timedelta(days=ahead + days_of_history(tuple(windows))))
    assert found.labels == (DAY - timedelta(days=USE_CASE.label_horizon_days), DAY + timedelta(days=ahead))
    first, last = found.derive
    assert (first, last >= found.features[1]) == (DAY, True)
    # The labels of a day are written when the day of its horizon is.
    closing = {day - timedelta(days=USE_CASE.label_horizon_days) for day in span(first, last)}
    assert set(span(*found.labels)) <= closing


def test_some_sources_reach_further_than_others() -> None:
    reach = {source: history_of(USE_CASE, source) for source in SOURCES}
    assert max(reach.values()) == USE_CASE.history_days
    assert min(reach.values()) < USE_CASE.history_days, "else a day of any source would derive everything again"


def test_only_days_that_were_derived_before_are_derived_again() -> None:
    derived = [(DAY + timedelta(days=n)).isoformat() for n in (-1, 0, 1)]
    assert days_to_derive(USE_CASE, SOURCES[0], [DAY], derived) == [DAY, DAY + timedelta(days=1)]
    assert days_to_derive(USE_CASE, SOURCES[0], [], derived) == []


def test_what_was_derived_before_a_late_file_came_is_left_behind() -> None:
    source = max(SOURCES, key=lambda name: history_of(USE_CASE, name))
    last = impact_of(USE_CASE, source, DAY).derive[1]
    days, noon = span(DAY - timedelta(days=9), last + timedelta(days=9)), datetime(2013, 5, 1, 12, tzinfo=UTC)
    closed: dict[str, datetime | None] = {day.isoformat(): noon for day in days}
    late = {"source": source, "ds": DAY.isoformat(), "run_id": "late", "ingested": 1}
    late["ingested_at"] = noon - timedelta(hours=1)
    after = DAY + timedelta(days=1)

    def found(row: dict[str, Any], derived: dict[str, datetime | None] = closed) -> list[tuple[date, date]]:
        return left_behind(USE_CASE, [row], "late", [DAY], derived, began=noon)

    assert found(late) == [(after, last)]
    assert left_behind(USE_CASE, [late], "late", span(DAY, last), closed, noon) == []
    assert found(late, {}) == [], "days that are not ingested come in their turn"
    assert found(late, {after.isoformat(): None}) == [(after, after)], "a run of that day may be at work"
    assert found(late | {"ingested": 0}) == []
    another = late | {"run_id": "another"}
    assert found(another) == [], "days that were closed since have seen the file"
    assert found(another, closed | {last.isoformat(): noon - timedelta(hours=2)}) == [(last, last)]
    assert found(another, {last.isoformat(): None}) == [], "it comes in its turn"


def test_a_day_that_was_being_derived_when_a_late_file_came_is_derived_again() -> None:
    source = max(SOURCES, key=lambda name: history_of(USE_CASE, name))
    last = impact_of(USE_CASE, source, DAY).derive[1]
    days, began = span(DAY - timedelta(days=9), last + timedelta(days=9)), datetime(2013, 5, 1, 12, tzinfo=UTC)
    closed: dict[str, datetime | None] = {day.isoformat(): began + timedelta(minutes=2) for day in days}
    file = {"source": source, "ds": DAY.isoformat(), "run_id": "another", "ingested": 1}

    def found(own: date, minutes: int) -> list[tuple[date, date]]:
        row = file | {"ingested_at": began + timedelta(minutes=minutes)}
        return left_behind(USE_CASE, [row], "run", [own], closed, began)

    for own in (DAY, last):
        assert found(own, 1) == [(own, own)], "it closed after the file had come, but read before"
        assert found(own, -1) == [], "it has read the file"
    assert found(DAY - timedelta(days=1), 1) == found(last + timedelta(days=1), 1) == [], "out of its reach"


def test_a_day_is_derivable_once_it_and_what_it_needs_are_ingested() -> None:
    start = USE_CASE.history_start
    days = [(start + timedelta(days=n)).isoformat() for n in range(USE_CASE.history_days + 3)]
    assert derivable(USE_CASE, days) == set(days)
    assert derivable(USE_CASE, days[1:]) == set(days[USE_CASE.history_days + 1 :])


def test_days_far_apart_are_derived_apart() -> None:
    days = [date(2013, 1, n) for n in (5, 1, 2, 9, 3, 5)]
    spans = [(1, 3), (5, 5), (9, 9)]
    assert ranges(days) == [(date(2013, 1, a), date(2013, 1, b)) for a, b in spans]
    assert ranges([]) == []
