"""Real time in steps: nothing left out over nights and restarts, files landed once, labels once they are closed."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.use_case import load_use_case
from local_stack.environment import keep_settings, own_settings, process_env
from local_stack.live import (
    KnownOutcomes,
    LiveSteps,
    Nights,
    days_missing,
    newest_heartbeat,
    resume_at,
    stack_settings,
)
from local_stack.replay.timeline import Fact, Query, Step
from local_stack.servers.airflow import airflow_env
from local_stack.servers.predictor import predictors
from local_stack.stack import Stack

USE_CASE = load_use_case("flight_delay")
TODAY = date(2026, 11, 24)
MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)


@dataclass
class Clock:
    """Time that passes only while somebody sleeps, a little more than was asked for."""

    now: datetime
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds, milliseconds=3)


def day_of(day: date) -> tuple[list[Fact], list[Query]]:
    """A fact and a query every seven minutes."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [begin + timedelta(minutes=7 * n) for n in range(1440 // 7 + 1)]
    return [Fact("s", f"f{t}", t, {}) for t in times], [Query(f"q{t}", t, {}) for t in times]


def steps(clock: Clock, at: datetime, beat: int = 5) -> Iterator[Step]:
    asking_from = clock.now
    return iter(LiveSteps(day_of, at, asking_from, timedelta(seconds=beat), clock, clock.sleep))


@settings(max_examples=25)
@given(st.integers(0, 3 * 86_400), st.integers(0, 2 * 86_400), st.integers(1, 3600))
def test_facts_go_out_once_in_order_over_nights_and_outages(started: int, outage: int, beat: int) -> None:
    at = MIDNIGHT + timedelta(seconds=started)
    clock = Clock(at + timedelta(seconds=outage))
    now = clock.now
    live, taken = steps(clock, at, beat), []
    while not taken or taken[-1].end < now + timedelta(hours=2):
        taken.append(next(live))
    end = taken[-1].end
    wanted = [f for n in range(9) for f in day_of(TODAY + timedelta(days=n))[0] if at <= f.available < end]
    assert [fact for step in taken for fact in step.facts] == wanted
    assert all(one.end == two.start for one, two in pairwise(taken))
    assert all(step.start.date() == (step.end - timedelta(seconds=1)).date() for step in taken)
    assert all(query.at >= now for step in taken for query in step.queries)
    asked = [q for n in range(9) for q in day_of(TODAY + timedelta(days=n))[1] if now <= q.at < end]
    assert [query for step in taken for query in step.queries] == asked


def test_nothing_is_sent_before_its_time() -> None:
    clock = Clock(MIDNIGHT + timedelta(hours=3))
    live = steps(clock, MIDNIGHT)
    for _ in range(50):
        step = next(live)
        assert step.end <= clock.now
    assert clock.slept.count(0.0) == 1  # the past at once, then a beat between steps


def test_a_day_lands_minutes_after_its_end_and_once() -> None:
    landed: list[date] = []
    nights = Nights(TODAY - timedelta(days=1), landed.append, lambda _text: None)
    nights.pass_time(MIDNIGHT + timedelta(days=1, minutes=4))
    assert landed == []
    for minutes in (5, 6, 600):
        nights.pass_time(MIDNIGHT + timedelta(days=1, minutes=minutes))
    assert landed == [TODAY]
    nights.pass_time(MIDNIGHT + timedelta(days=3, hours=1))
    assert landed == [TODAY, date(2026, 11, 25), date(2026, 11, 26)]


def test_a_landing_that_fails_is_tried_again() -> None:
    tries: list[date] = []
    said: list[str] = []

    def land(day: date) -> None:
        tries.append(day)
        if len(tries) == 1:
            raise subprocess.CalledProcessError(1, "feeder")

    nights = Nights(TODAY - timedelta(days=1), land, said.append)
    for minutes in (5, 6):
        nights.pass_time(MIDNIGHT + timedelta(days=1, minutes=minutes))
    assert tries == [TODAY, TODAY]
    assert "trying again" in said[0] and "have landed" in said[1]


def test_outcomes_are_known_once_their_horizon_has_ended() -> None:
    asked: list[date] = []

    def read(day: date) -> dict[str, int]:
        asked.append(day)
        return {day.isoformat(): 1}

    known = KnownOutcomes(USE_CASE, read)
    for hours in (1, 2, 23, 25):
        known.pass_time(MIDNIGHT + timedelta(hours=hours))
    assert asked == [date(2026, 11, 22), date(2026, 11, 23)]
    assert set(known.outcomes) == {"2026-11-22", "2026-11-23"}


def test_it_goes_on_from_the_earliest_last_heartbeat() -> None:
    beats = {"a": MIDNIGHT + timedelta(hours=2), "b": MIDNIGHT + timedelta(hours=1)}
    assert resume_at(beats, ["a", "b"], TODAY) == MIDNIGHT + timedelta(hours=1)
    assert resume_at(beats, ["a", "b", "c"], TODAY) == MIDNIGHT


def test_the_last_heartbeat_is_found_among_facts_and_garbage() -> None:
    beats = [json.dumps({"complete_through": f"2026-11-24T0{n}:00:00Z"}).encode() for n in (1, 3, 2)]
    assert newest_heartbeat([b"{", None, b'{"id": "x"}', b"[]", *beats]) == MIDNIGHT + timedelta(hours=3)
    assert newest_heartbeat([b"{}"]) is None


def test_days_that_the_batch_layer_lacks() -> None:
    published = {"2026-11-20", "2026-11-22"}
    assert days_missing(published, date(2026, 11, 20), date(2026, 11, 23)) == [date(2026, 11, 21), date(2026, 11, 23)]


def test_history_begins_once_and_the_schedule_never_ends(stack: Stack) -> None:
    first = stack_settings({}, TODAY, 15)
    assert first == {"LAMBDA_DL_HISTORY_START": "2026-11-09", "LAMBDA_DL_LAST_DAY": ""}
    assert stack_settings(first, TODAY + timedelta(days=9), 3) == first
    assert own_settings(stack.layout) == {}
    keep_settings(stack.layout, first)
    assert own_settings(stack.layout) == first
    for environment in (process_env(stack), airflow_env(stack), predictors(stack)[0].env):
        assert environment["LAMBDA_DL_HISTORY_START"] == "2026-11-09"
        assert environment["LAMBDA_DL_LAST_DAY"] == ""


def test_an_ordinary_stack_ends_with_the_shipped_facts(stack: Stack) -> None:
    assert airflow_env(stack)["LAMBDA_DL_LAST_DAY"] == "2013-12-31"
    assert "LAMBDA_DL_HISTORY_START" not in process_env(stack)


def test_a_deployment_says_when_its_history_began() -> None:
    assert load_use_case("flight_delay", {"LAMBDA_DL_HISTORY_START": "2026-11-09"}).history_start == date(2026, 11, 9)
    assert load_use_case("flight_delay", {}).history_start == date(2012, 12, 31)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        load_use_case("flight_delay", {"LAMBDA_DL_HISTORY_START": "yesterday"})
