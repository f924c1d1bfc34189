"""A search over several nodes and queries shared by two services: one of each killed midway, and no result changes.

Runs on a stack of profile ``ray-services``: ``make drills PROFILE=ray-services``.
"""

import json
import os
import shlex
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests

from include.locations import MODELS_BUCKET
from local_stack import supervision
from local_stack.control import all_servers
from local_stack.layout import REPO_ROOT
from local_stack.stack import Stack
from tests.profiles import speed_layer
from tests.profiles.conftest import healed, stack_of, until
from tests.spark_jobs.workshop import Workshop, spark_process

pytestmark = pytest.mark.drill

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@pytest.fixture(scope="module")
def stack() -> Stack:
    return stack_of("ray-services")


class Search:
    """``search_on_cluster`` as a job of the cluster, as Airflow's operator submits a training."""

    def __init__(self, stack: Stack) -> None:
        self.name = f"drill-{uuid.uuid4().hex[:8]}"
        self._jobs = f"{stack.ports.url('ray-dashboard')}/api/jobs/"
        self._head = {"Authorization": f"Bearer {stack.secrets['ray_auth_token']}"}
        words = [sys.executable, "-m", "tests.profiles.search_on_cluster", f"{MODELS_BUCKET}/{self.name}"]
        endpoints = {key: os.environ[key] for key in ("S3_ENDPOINT", "S3_REGION")}
        environment = {**endpoints, "PYTHONPATH": str(REPO_ROOT), "PYTHONUNBUFFERED": "1"}
        job = {
            "submission_id": self.name,
            "entrypoint": shlex.join(words),
            "runtime_env": {"env_vars": environment},
        }
        requests.post(self._jobs, json=job, headers=self._head, timeout=60).raise_for_status()

    def _ask(self, path: str) -> Any:
        answer = requests.get(f"{self._jobs}{self.name}{path}", headers=self._head, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def lines(self, mark: str) -> list[Any]:
        """What the job has printed behind a mark, as JSON."""
        logs = str(self._ask("/logs")["logs"]).splitlines()
        return [json.loads(line.removeprefix(mark)) for line in logs if line.startswith(mark) and line.endswith("}")]

    def ended(self) -> bool:
        return self._ask("")["status"] in ENDED

    def found(self) -> Any:
        """What the search found, once it has ended."""
        until(self.ended, f"the end of {self.name}")
        assert self._ask("")["status"] == "SUCCEEDED", self._ask("/logs")["logs"][-3000:]
        return self.lines("FOUND ")[-1]


def node_of(stack: Stack, pid: int) -> str:
    """The server that a process of Ray belongs to."""
    above = {pid, *(parent.pid for parent in psutil.Process(pid).parents())}
    (name,) = (
        name
        for name, (_, root) in supervision.process_states(stack).items()
        if root in above and name.startswith("ray")
    )
    return name


def test_a_node_killed_in_a_search_changes_no_result(stack: Stack) -> None:
    undisturbed = Search(stack).found()
    with healed(stack) as kill:
        disturbed = Search(stack)
        report = until(lambda: [line for line in disturbed.lines("PART ") if line["part"] >= 2], "a trial at work")[-1]
        node = node_of(stack, report["pid"])
        assert node.startswith("ray-worker-"), f"the trial ran on {node}"
        assert not disturbed.ended()
        kill(node)
        found = disturbed.found()
        pids = {line["pid"] for line in disturbed.lines("PART ")}
    assert len(pids) > 1, "the trial's process survived"
    assert found == undisturbed


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with spark_process([]) as pool:
        yield Workshop(pool, "", "", "")


def members(stack: Stack) -> dict[str, int]:
    """Partitions of queries by member of the services' group, as the brokers know it."""
    from confluent_kafka.admin import AdminClient

    group = f"{speed_layer.NAME}.predictor"
    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP"]})
    described = admin.describe_consumer_groups([group])[group].result(30)
    return {member.member_id: len(member.assignment.topic_partitions) for member in described.members}


def test_a_service_killed_in_a_replay_changes_no_answer(stack: Stack, workshop: Workshop) -> None:
    day = speed_layer.prepare(workshop.do)
    until(lambda: sorted(members(stack).values()) == [1, 1], "two services with a partition each")
    speed_layer.replay(day, ["predictor-2@08:00", "predictor@18:00"])
    until(lambda: sorted(members(stack).values()) == [1, 1], "both services again")
    assert speed_layer.judge(workshop.do, day)["parity"] == 1.0


def test_the_other_service_takes_over_what_a_killed_one_had(stack: Stack, workshop: Workshop) -> None:
    speed_layer.prepare(workshop.do)
    until(lambda: sorted(members(stack).values()) == [1, 1], "two services with a partition each")
    before = set(members(stack))
    with healed(stack) as kill:
        kill("predictor-2")
        supervision.stop(stack, "predictor-2")  # else it might be back before the group has missed it
        left = until(lambda: list(members(stack).values()) == [2] and members(stack), "one service with both")
        supervision.start(stack, next(s for s in all_servers(stack) if s.name == "predictor-2"))
    assert set(left) < before
    until(lambda: sorted(members(stack).values()) == [1, 1], "both services again")
