"""Retract on the real servers: afterwards everything is as if the day's file had never come; restored, as before."""

import pytest

from include import lake
from tests.recovery import steps
from tests.recovery.conftest import LAST, Worlds
from tests.recovery.content import DERIVED, content, shown
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import FIRST, feed

pytestmark = pytest.mark.drill

SOURCE = "arrivals"


def test_a_withdrawn_day_leaves_what_a_run_has_that_never_saw_it(worlds: Worlds) -> None:
    name, never, do = worlds.fair, worlds.other, worlds.workshop.do
    feed(never, LAST)
    steps.empty(never, SOURCE, LAST)
    do(steps.load, never, FIRST, LAST)
    before = {table: content(name, table) for table in DERIVED}
    raw = content(name, f"raw_{SOURCE}")

    assert do(steps.change, name, "retracted", SOURCE, LAST) == 1
    for table in DERIVED:
        assert content(name, table) == content(never, table), table
    assert content(name, "tiles") != before["tiles"] and content(name, "features") != before["features"]
    assert content(name, f"raw_{SOURCE}") == raw != [], "raw keeps what was withdrawn"
    assert all(row["closed"] for row in lake.read_rows(name, "book"))
    do(spark_steps.refresh, name, "retracted")
    after = shown()
    do(spark_steps.refresh, never, "never")
    assert after == shown(), "MySQL"
    assert after["recent_events"] and after["hourly_stats"]

    assert do(steps.change, name, "restored", SOURCE, LAST) == 0
    assert {table: content(name, table) for table in DERIVED} == before
