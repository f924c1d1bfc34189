"""Scoring and statistics killed (``kill -9``) at each of their commits, and after the last, then run again.

They need a day whose labels have closed and answers about it, so three days are loaded first.
"""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.recovery import steps
from tests.recovery.killed_jobs import Jobs, Lake, cases_of, kill_and_run_again, lake_of
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import FIRST, LAST, feed

pytestmark = pytest.mark.drill

#: The first day with departures; its labels close with ``LAST``.
ANSWERED = FIRST + timedelta(days=1)
JOBS: Jobs = {
    "score": ((spark_steps.score, ("scores",)), 3),
    "compute_statistics": ((spark_steps.compute_statistics, ("computes",)), 1),
}
CASES = cases_of(JOBS)


def prepare(lake: Lake) -> None:
    """Three days are loaded, every subject of one was asked about."""
    feed(lake.name, LAST)
    lake.run((steps.load, (FIRST, LAST)))
    lake.run((steps.answer, (ANSWERED,)))


@pytest.fixture(scope="module")
def undisturbed(importable: None) -> Iterator[Lake]:
    with lake_of(f"test_killed_scoring_{uuid.uuid4().hex[:8]}", prepare, JOBS) as found:
        yield found


@pytest.mark.parametrize(("job", "number"), CASES, ids=[f"{job}-{number}" for job, number in CASES])
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(undisturbed: Lake, job: str, number: int) -> None:
    kill_and_run_again(undisturbed, JOBS, job, number)


def test_every_commit_is_a_case(undisturbed: Lake) -> None:
    assert undisturbed.made == {job: commits for job, (_, commits) in JOBS.items()}
