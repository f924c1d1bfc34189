"""Jobs killed at each of their commits: a lake with copies of what it was before each, and a door that kills.

It does not know which jobs there are.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka.admin import AdminClient

from include import lake
from include.landing import object_sizes, s3_client
from include.locations import LAKE_BUCKET, MODELS_BUCKET
from include.settings import KafkaSettings
from include.tables import all_tables
from tests.recovery import steps
from tests.recovery.content import ABOUT_RUNS
from tests.recovery.door import Door, door_to, run_alone
from tests.spark_jobs import steps as spark_steps
from tests.spark_jobs.workshop import spark_process, topics_for

#: When a thing was noted differs from run to run.
NOTED = (*ABOUT_RUNS, "time", "computed_at")
Step = tuple[Callable[..., Any], tuple[Any, ...]]
#: Job -> its step, and how many commits it makes.
Jobs = Mapping[str, tuple[Step, int]]


def cases_of(jobs: Jobs) -> list[tuple[str, int]]:
    """Each job and each of its commits, and once more after the last."""
    return [(job, number) for job, (_, commits) in jobs.items() for number in range(1, commits + 2)]


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
        # What an undisturbed job has taken from a topic has not been taken then.
        admin = AdminClient(KafkaSettings.from_environment().client())
        there = {group.group_id for group in admin.list_consumer_groups().result().valid}
        own = [group for group in there if group.startswith(f"{self.name}.")]
        for deleted in admin.delete_consumer_groups(own).values() if own else ():
            deleted.result()

    def _copy(self, source: str, target: str) -> None:
        for key in object_sizes(self.client, LAKE_BUCKET, source):
            place = target + key.removeprefix(source)
            content = self.client.get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read()
            self.client.put_object(Bucket=LAKE_BUCKET, Key=place, Body=content)

    def forget(self) -> None:
        """Remove the copies and the ledger."""
        places = [(LAKE_BUCKET, f"{self.name}_before_{job}/") for job in self.made]
        for bucket, prefix in (*places, (MODELS_BUCKET, f"{self.name}/")):
            for key in object_sizes(self.client, bucket, prefix):
                self.client.delete_object(Bucket=bucket, Key=key)


def rows(name: str, table: str) -> list[str]:
    kept = ({c: value for c, value in row.items() if c not in NOTED} for row in lake.read_rows(name, table))
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in kept)


@contextmanager
def lake_of(name: str, prepare: Callable[[Lake], None], jobs: Jobs) -> Iterator[Lake]:
    """A lake that has been prepared, then every job undisturbed, with what there was before it and what it left."""
    with door_to(os.environ["S3_ENDPOINT"]) as door, topics_for([name]), pytest.MonkeyPatch.context() as patch:
        found = Lake(name, cast(ProcessPoolExecutor, None), door)
        # The Spark process goes through the door too: what it commits is counted.
        patch.setenv("S3_ENDPOINT", door.environment["S3_ENDPOINT"])
        with spark_process([name]) as found.pool:
            prepare(found)
            for job, (step, _) in jobs.items():
                found.save(job)
                door.ready(kill_at=0)
                found.run(step)
                found.made[job] = len(door.commits)
                found.after[job] = found.held()
            yield found
            found.forget()


def kill_and_run_again(undisturbed: Lake, jobs: Jobs, job: str, number: int) -> None:
    """Kill a job just before a commit (or after its last), run it again, and compare every table."""
    step, commits = jobs[job]
    undisturbed.restore(job)
    undisturbed.door.ready(kill_at=min(number, commits), after=number > commits)
    assert undisturbed.run_alone(step) == -9
    undisturbed.door.ready(kill_at=0)
    undisturbed.run(step)
    held, expected = undisturbed.held(), undisturbed.after[job]
    assert {table for table in held if held[table] != expected[table]} == set()
