"""Small drills (the large ones are in ``tests/recovery``): a day retracted and restored, a book killed at a commit."""

import os
from collections.abc import Iterator

import pytest

from include import lake
from include.retraction import RetractionRefused
from include.use_cases.flight_delay import feeder
from tests.recovery import steps as recovery_steps
from tests.recovery.content import DERIVED, content
from tests.recovery.door import Door, door_to, run_alone
from tests.spark_jobs.workshop import DAYS, Workshop

pytestmark = pytest.mark.integration

SOURCE, DAY = "arrivals", DAYS[1]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with door_to(os.environ["S3_ENDPOINT"]) as found:
        yield found


def test_a_retracted_day_is_left_out_comes_anew_and_comes_back(window: Workshop) -> None:
    name, do = window.window, window.do
    before, raw = {table: content(name, table) for table in DERIVED}, content(name, f"raw_{SOURCE}")
    assert do(recovery_steps.change, name, "retracted", SOURCE, DAY) == 1
    for table in DERIVED:
        assert content(name, table) != before[table], table
    assert content(name, f"raw_{SOURCE}") == raw != [], "raw keeps what is withdrawn"
    assert all(row["closed"] for row in lake.read_rows(name, "book", ds=[DAY.isoformat()]))
    later = (DAYS[2], DAYS[2])
    assert do(recovery_steps.deliver_anew, name, SOURCE, DAY, "anew") == [later], "later days look back to it"
    assert {table: content(name, table) for table in DERIVED} == before, "the same content counts anew"
    with pytest.raises(RetractionRefused, match=f"lie in several files .*{recovery_steps.ANEW}"):
        do(recovery_steps.withdraw, name, "restored", SOURCE, DAY, "twice")
    do(recovery_steps.withdraw, name, "retracted", SOURCE, DAY, "anew was wrong")
    assert do(recovery_steps.change, name, "restored", SOURCE, DAY, feeder.FILE_NAME) == 1
    assert {table: content(name, table) for table in DERIVED} == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_book_killed_at_its_commit_and_closed_again_is_the_same(window: Workshop, door: Door, after: bool) -> None:
    name, close = window.window, recovery_steps.close_preprocess
    before, version = content(name, "book"), lake.open_table(name, "book").version()
    door.ready(kill_at=1, after=after)
    assert run_alone(door, close, name, DAY, "killed") == -9
    assert lake.open_table(name, "book").version() - version == after, "it died where it should"
    window.do(close, name, DAY, "killed")
    assert content(name, "book") == before
