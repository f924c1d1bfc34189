"""Each job killed (``kill -9``) at each of its commits, and once more after its last, then run again: the same tables.

A day's way through the batch layer and three mistakes undone, on the real servers. Before each kill the lake is put
back to what it was before the job; the killed process talks to S3 through a door that dies with it.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from include import lake
from include.landing import object_sizes, s3_client
from include.locations import LAKE_BUCKET
from include.tables import all_tables
from tests.recovery import steps
from tests.recovery.conftest import LAST, Worlds
from tests.recovery.content import ABOUT_RUNS
from tests.recovery.door import Door, door_to
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import FIRST, feed

pytestmark = pytest.mark.drill

#: When a thing was noted differs from run to run.
NOTED = (*ABOUT_RUNS, "time", "computed_at")
Step = tuple[Callable[..., Any], tuple[Any, ...]]
#: The jobs in their order, and how many commits each makes here.
JOBS: dict[str, tuple[Step, int]] = {
    "ingest": ((steps.ingest_strictly, (LAST, "run-2")), 11),
    "close_ingest_book": ((steps.close_ingest, (LAST, "run-2")), 1),
    "preprocess": ((spark_steps.preprocess, (LAST, LAST, "run-2")), 3),
    "close_preprocess_book": ((steps.close_preprocess, (LAST, "run-2")), 1),
    "release": ((steps.release, (FIRST, LAST, "", False, "release")), 2),
    "derive_released": ((steps.derive, (steps.SOURCE, [FIRST, LAST], "derive")), 5),
    "retract": ((steps.withdraw, ("retracted", "arrivals", LAST, "retract")), 1),
    "derive_retracted": ((steps.derive, ("arrivals", [LAST], "derive-2")), 5),
    "statistics": ((spark_steps.compute_statistics, ("statistics",)), 1),
    "maintain": ((steps.maintain_tables, ()), 10),
}
CASES = [(job, number) for job, (_, commits) in JOBS.items() for number in range(1, commits + 2)]


def test_there_are_thirty_boundaries_at_least() -> None:
    assert len(CASES) >= 30


@dataclass
class Lake:
    """One use case's tables, with copies of what they were before each job and what they held after it."""

    name: str
    worlds: Worlds
    door: Door
    after: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    client: Any = field(default_factory=s3_client)

    def run(self, step: Step, *, alone: bool) -> int:
        """Run a step in a process of its own behind the door, or else in the Spark process; returns an exit code."""
        function, arguments = step
        if not alone:
            self.worlds.workshop.do(steps.forget_logs)
            self.worlds.workshop.do(function, self.name, *arguments)
            return 0
        process = multiprocessing.get_context("spawn").Process(
            target=in_its_own_group, args=(self.door.url, function, self.name, arguments)
        )
        process.start()
        assert process.pid is not None
        self.door.victim = process.pid
        process.join(300)
        assert process.exitcode is not None, "neither done nor dead after 300 s"
        return process.exitcode

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
        for job in JOBS:
            for key in object_sizes(self.client, LAKE_BUCKET, f"{self.name}_before_{job}/"):
                self.client.delete_object(Bucket=LAKE_BUCKET, Key=key)


def in_its_own_group(endpoint: str, function: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> None:
    """In the new process: whoever kills its group kills the JVM too."""
    os.setsid()
    os.environ["S3_ENDPOINT"] = endpoint
    function(name, *arguments)


def rows(name: str, table: str) -> list[str]:
    kept = ({c: value for c, value in row.items() if c not in NOTED} for row in lake.read_rows(name, table))
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in kept)


@pytest.fixture(scope="module")
def undisturbed(empty: Worlds) -> Iterator[Lake]:
    """A day is loaded; then every job in its order, each behind the door, with what it was before and after."""
    with door_to(os.environ["S3_ENDPOINT"]) as door:
        found = Lake(empty.killed, empty, door)
        feed(found.name, LAST)
        empty.workshop.do(steps.load, found.name, FIRST, FIRST, steps.TOO_STRICT)
        made: dict[str, int] = {}
        for job, (step, _) in JOBS.items():
            found.save(job)
            door.ready(kill_at=0)
            assert found.run(step, alone=True) == 0
            made[job] = len(door.commits)
            found.after[job] = found.held()
        assert made == {job: commits for job, (_, commits) in JOBS.items()}
        yield found
        found.forget()


@pytest.mark.parametrize(("job", "number"), CASES, ids=[f"{job}-{number}" for job, number in CASES])
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(undisturbed: Lake, job: str, number: int) -> None:
    step, commits = JOBS[job]
    undisturbed.restore(job)
    undisturbed.door.ready(kill_at=min(number, commits), after=number > commits)
    assert undisturbed.run(step, alone=True) == -9
    undisturbed.run(step, alone=False)
    held, expected = undisturbed.held(), undisturbed.after[job]
    assert {table for table in held if held[table] != expected[table]} == set()
