"""Small drills (the large ones are in ``tests/recovery``): a day retracted and restored, jobs killed at a commit."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from include import lake
from tests.recovery import steps as recovery_steps
from tests.recovery.content import DERIVED, content
from tests.recovery.door import Door, door_to, run_alone
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import DAYS, Workshop

pytestmark = pytest.mark.integration

SOURCE, DAY = "arrivals", DAYS[1]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with door_to(os.environ["S3_ENDPOINT"]) as found:
        yield found


def test_a_retracted_day_is_left_out_and_comes_back(window: Workshop) -> None:
    name, do = window.window, window.do
    before, raw = {table: content(name, table) for table in DERIVED}, content(name, f"raw_{SOURCE}")
    assert do(recovery_steps.change, name, "retracted", SOURCE, DAY) == 1
    for table in DERIVED:
        assert content(name, table) != before[table], table
    assert content(name, f"raw_{SOURCE}") == raw != [], "raw keeps what is withdrawn"
    assert all(row["closed"] for row in lake.read_rows(name, "book", ds=[DAY.isoformat()]))
    assert do(recovery_steps.change, name, "restored", SOURCE, DAY) == 0
    assert {table: content(name, table) for table in DERIVED} == before


@pytest.mark.parametrize(
    ("function", "arguments", "commit", "after"),
    [
        (recovery_steps.close_preprocess, (DAY, "killed"), 1, False),
        (recovery_steps.close_preprocess, (DAY, "killed"), 1, True),
        (steps.preprocess, (DAY, DAY, "killed"), 2, False),
    ],
    ids=["book-before", "book-after", "preprocess-between-its-commits"],
)
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(
    window: Workshop, door: Door, function: Callable[..., Any], arguments: tuple[Any, ...], commit: int, after: bool
) -> None:
    name, tables = window.window, (*DERIVED, "book")
    before = {table: content(name, table) for table in tables}
    versions = [lake.open_table(name, table).version() for table in tables]
    door.ready(kill_at=commit, after=after)
    assert run_alone(door, function, name, *arguments) == -9
    made = [lake.open_table(name, table).version() for table in tables]
    assert sum(made) - sum(versions) == commit - (not after), "it died where it should"
    window.do(recovery_steps.forget_logs)
    window.do(function, name, *arguments)
    assert {table: content(name, table) for table in tables} == before
