"""Each job killed (``kill -9``) at each of its commits, and once more after its last, then run again: the same tables.

A day's way through the batch layer and two mistakes undone, on the real servers. Before each kill the lake is put
back to what it was before the job; the killed process talks to S3 through a door that dies with it.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.recovery import steps
from tests.recovery.conftest import LAST
from tests.recovery.killed_jobs import Jobs, Lake, cases_of, kill_and_run_again, lake_of
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import FIRST, feed

pytestmark = pytest.mark.drill

#: The jobs in their order, and how many commits each makes here.
JOBS: Jobs = {
    "ingest": ((steps.ingest_strictly, (LAST, "run-2")), 11),
    "close_ingest_book": ((steps.close_ingest, (LAST, "run-2")), 1),
    "preprocess": ((spark_steps.preprocess, (LAST, LAST, "run-2")), 2),
    "close_preprocess_book": ((steps.close_preprocess, (LAST, "run-2")), 1),
    "watch_freshness": ((steps.tell_somebody, ()), 1),
    "release": ((steps.release, (FIRST, LAST, "", False, "release")), 2),
    "retract": ((steps.withdraw, ("retracted", "arrivals", LAST, "retract")), 1),
    "load_metrics": ((steps.load_metrics, ()), 4),
    "maintain": ((steps.maintain_tables, ()), 3),
}
CASES = cases_of(JOBS)


def prepare(lake: Lake) -> None:
    """One day is loaded."""
    feed(lake.name, LAST)
    lake.run((steps.load, (FIRST, FIRST, steps.TOO_STRICT)))
    lake.run((steps.announce, ()))


@pytest.fixture(scope="module")
def undisturbed(importable: None) -> Iterator[Lake]:
    with lake_of(f"test_killed_{uuid.uuid4().hex[:8]}", prepare, JOBS) as found:
        yield found


@pytest.mark.parametrize(("job", "number"), CASES, ids=[f"{job}-{number}" for job, number in CASES])
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(undisturbed: Lake, job: str, number: int) -> None:
    kill_and_run_again(undisturbed, JOBS, job, number)


def test_every_commit_is_a_case(undisturbed: Lake) -> None:
    assert undisturbed.made == {job: commits for job, (_, commits) in JOBS.items()}
    assert len(CASES) >= 30
