"""Each job killed (``kill -9``) at each of its commits, and once more after its last, then run again: the same tables.

A day's way through the batch layer and two mistakes undone, on the real servers. Before each kill the lake is put
back to what it was before the job; the killed process talks to S3 through a door that dies with it.
"""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from include import lake
from include.landing import object_sizes, s3_client
from include.locations import LAKE_BUCKET, MODELS_BUCKET
from include.tables import all_tables
from tests.recovery import steps
from tests.recovery.conftest import LAST
from tests.recovery.content import ABOUT_RUNS
from tests.recovery.door import Door, door_to, run_alone
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import FIRST, feed, spark_process, topics_for

pytestmark = pytest.mark.drill

#: When a thing was noted differs from run to run.
NOTED = (*ABOUT_RUNS, "time", "computed_at")
Step = tuple[Callable[..., Any], tuple[Any, ...]]
#: The jobs in their order, and how many commits each makes here; 0: not a job, it makes what the next one needs.
JOBS: dict[str, tuple[Step, int]] = {
    "ingest": ((steps.ingest_strictly, (LAST, "run-2")), 11),
    "close_ingest_book": ((steps.close_ingest, (LAST, "run-2")), 1),
    "preprocess": ((spark_steps.preprocess, (LAST, LAST, "run-2")), 2),
    "close_preprocess_book": ((steps.close_preprocess, (LAST, "run-2")), 1),
    "answer": ((steps.answer, (FIRST,)), 0),
    "score": ((spark_steps.score, ("run-2",)), 3),
    "compute_statistics": ((spark_steps.compute_statistics, ("run-2",)), 1),
    "watch_freshness": ((steps.tell_somebody, ()), 1),
    "release": ((steps.release, (FIRST, LAST, "", False, "release")), 2),
    "retract": ((steps.withdraw, ("retracted", "arrivals", LAST, "retract")), 1),
    "load_metrics": ((steps.load_metrics, ()), 4),
    "maintain": ((steps.maintain_tables, ()), 3),
}
CASES = [(job, number) for job, (_, commits) in JOBS.items() for number in range(1, commits + 2) if commits]


@dataclass
class Lake:
    """One use case's tables, with copies of what they were before each job and what they held after it."""

    name: str
    pool: ProcessPoolExecutor
    door: Door
    after: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    client: Any = field(default_factory=s3_client)

    def run(self, step: Step) -> None:
        """Run a step in the Spark process."""
        function, arguments = step
        self.pool.submit(steps.forget_logs).result()
        self.pool.submit(function, self.name, *arguments).result()

    def run_alone(self, step: Step) -> int:
        """Run a step in a process of its own, which the door may kill; returns its exit code."""
        function, arguments = step
        return run_alone(self.door, function, self.name, *arguments)

    def held(self) -> dict[str, list[str]]:
        """The rows of every table, as sorted texts, but for who wrote them when."""
        return {table.name: rows(self.name, table.name) for table in all_tables(spark_steps.named(self.name))}

    def save(self, job: str) -> None:
        self._copy(f"{self.name}/", f"{self.name}_before_{job}/")

    def restore(self, job: str) -> None:
        for key in object_sizes(self.client, LAKE_BUCKET, f"{self.name}/"):
            self.client.delete_object(Bucket=LAKE_BUCKET, Key=key)
        self._copy(f"{self.name}_before_{job}/", f"{self.name}/")

    def _copy(self, source: str, target: str) -> None:
        for key in object_sizes(self.client, LAKE_BUCKET, source):
            place = target + key.removeprefix(source)
            content = self.client.get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read()
            self.client.put_object(Bucket=LAKE_BUCKET, Key=place, Body=content)

    def forget(self) -> None:
        """Remove the copies and the ledger."""
        places = [(LAKE_BUCKET, f"{self.name}_before_{job}/") for job in JOBS]
        for bucket, prefix in (*places, (MODELS_BUCKET, f"{self.name}/")):
            for key in object_sizes(self.client, bucket, prefix):
                self.client.delete_object(Bucket=bucket, Key=key)


def rows(name: str, table: str) -> list[str]:
    kept = ({c: value for c, value in row.items() if c not in NOTED} for row in lake.read_rows(name, table))
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in kept)


@pytest.fixture(scope="module")
def undisturbed(importable: None) -> Iterator[Lake]:
    """A day is loaded; then every job in its order, with what there was before it and what it left."""
    name = f"test_killed_{uuid.uuid4().hex[:8]}"
    with door_to(os.environ["S3_ENDPOINT"]) as door, topics_for([name]), pytest.MonkeyPatch.context() as patch:
        feed(name, LAST)
        found = Lake(name, cast(ProcessPoolExecutor, None), door)
        # The Spark process goes through the door too: what it commits is counted.
        patch.setenv("S3_ENDPOINT", door.environment["S3_ENDPOINT"])
        with spark_process([name]) as found.pool:
            found.run((steps.load, (FIRST, FIRST, steps.TOO_STRICT)))
            found.run((steps.announce, ()))
            for job, (step, _) in JOBS.items():
                found.save(job)
                door.ready(kill_at=0)
                found.run(step)
                found.made[job] = len(door.commits)
                found.after[job] = found.held()
            yield found
            found.forget()


@pytest.mark.parametrize(("job", "number"), CASES, ids=[f"{job}-{number}" for job, number in CASES])
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(undisturbed: Lake, job: str, number: int) -> None:
    step, commits = JOBS[job]
    undisturbed.restore(job)
    undisturbed.door.ready(kill_at=min(number, commits), after=number > commits)
    assert undisturbed.run_alone(step) == -9
    undisturbed.door.ready(kill_at=0)
    undisturbed.run(step)
    held, expected = undisturbed.held(), undisturbed.after[job]
    assert {table for table in held if held[table] != expected[table]} == set()


def test_every_commit_is_a_case(undisturbed: Lake) -> None:
    assert undisturbed.made == {job: commits for job, (_, commits) in JOBS.items()}
    assert len(CASES) >= 30
