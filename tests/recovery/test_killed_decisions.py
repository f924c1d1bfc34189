"""The choice of days, training, promotion, refusal, rollback, demotion: killed (``kill -9``) at each write, run again.

A write is an object of the models bucket (bundle, ledger, refusal, a run's pins and result). Before each kill the
bucket is put back to what it was before the job. Afterwards ledger, refusals, the trained weights and what the topics
say are those of an undisturbed run.
"""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from include.bundle.store import S3Store
from include.locations import Models, Topics
from include.metrics import consume
from include.settings import KafkaSettings
from tests.recovery import decisions
from tests.recovery.content import answering
from tests.recovery.door import Door, door_to, run_alone
from tests.spark_jobs.workshop import topics_for

pytestmark = pytest.mark.drill

#: What is as it was measured or noted on the day.
NOTED = ("time", "seconds", "metric_id", "trial_id", "predict_ms")
#: The gate says in words how long a prediction took.
MILLISECONDS = re.compile(r"[\d.]+ ms")
WEAK, STRONG = "weak", "strong"
Step = tuple[Callable[..., None], tuple[Any, ...]]
#: The jobs in their order, and how many writes each makes here; 0: not killed, since another case is like it.
JOBS: dict[str, tuple[Step, int]] = {
    "choose_window": ((decisions.choose_window, (WEAK,)), 1),
    "train_model": ((decisions.train_model, ("FOLDER", WEAK, 1)), 15),
    "promote_first": ((decisions.promote, ("FOLDER", WEAK, "promotes")), 0),
    "train_another": ((decisions.train_model, ("FOLDER", STRONG, 8)), 0),
    "promote": ((decisions.promote, ("FOLDER", STRONG, "promotes again")), 1),
    "roll_back": ((decisions.roll_back, ("rolls back",)), 1),
    "promote_back": ((decisions.promote, ("FOLDER", STRONG, "promotes back")), 1),
    "refuse": ((decisions.promote, ("FOLDER", WEAK, "refuses")), 1),
    "demote": ((decisions.demote, (STRONG, "demotes")), 1),
}
CASES = [(job, number) for job, (_, writes) in JOBS.items() for number in range(1, writes + 2) if writes]


@dataclass
class Bucket:
    """One use case's models, with what they were before each job and what was there after it."""

    name: str
    folder: Path
    door: Door
    store: S3Store
    before: dict[str, dict[str, bytes]] = field(default_factory=dict)
    after: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)

    def run_alone(self, job: str) -> int:
        (function, arguments), _ = JOBS[job]
        words = [str(self.folder) if word == "FOLDER" else word for word in arguments]
        return run_alone(self.door, function, self.name, *words)

    def objects(self) -> dict[str, bytes]:
        return {key: self.store.get(key) for key in self.store.keys(f"{self.name}/")}

    def restore(self, objects: dict[str, bytes]) -> None:
        for key in self.store.keys(f"{self.name}/"):
            self.store.delete(key)
        for key, data in objects.items():
            self.store.put(key, data)

    def held(self, since: dict[str, int]) -> dict[str, Any]:
        """Chosen days, ledger, refusals, trained weights, and what was said on each topic since some offsets."""
        where = Models(self.name)
        runs = [run for run in (WEAK, STRONG) if self.store.keys(where.search_prefix(run) + "result.json")]
        ids = {decisions.trained(self.name, run): run for run in runs}
        return {
            "windows": [self.plain(key, ids) for key in self.store.keys(where.search_prefix(WEAK) + "window.json")],
            "ledger": [self.plain(key, ids) for key in self.store.keys(where.ledger_prefix)],
            "refusals": [self.plain(key, ids) for key in self.store.keys(where.refusals_prefix)],
            "weights": {run: answering(self.store, self.name, model_id) for model_id, run in ids.items()},
            "said": {topic: said_since(topic, offset, ids) for topic, offset in since.items()},
        }

    def plain(self, key: str, ids: dict[str, str]) -> Any:
        return without_notes(json.loads(self.store.get(key)), ids)

    def ends(self) -> dict[str, int]:
        """The number of messages of each topic now."""
        topics = Topics(self.name)
        return {topic: len(messages(topic)) for topic in (topics.metrics, topics.models)}


def messages(topic: str) -> list[bytes]:
    return [value or b"" for _, _, value in consume(KafkaSettings.from_environment(), topic)]


def said_since(topic: str, offset: int, ids: dict[str, str]) -> list[str]:
    """What was said, however often."""
    found = (without_notes(json.loads(value), ids) for value in messages(topic)[offset:])
    return sorted({json.dumps(message, sort_keys=True) for message in found})


def without_notes(value: Any, ids: dict[str, str]) -> Any:
    """Models by the run that trained them (an id covers the seconds on the card), and nothing of when or how long."""
    if isinstance(value, dict):
        if value.get("name") == "latency":  # the check of predict_ms
            value = {**value, "value": None}
        return {name: without_notes(part, ids) for name, part in value.items() if name not in NOTED}
    if isinstance(value, list):
        return [without_notes(part, ids) for part in value]
    if isinstance(value, str):
        for model_id, run in ids.items():
            value = value.replace(model_id, run).replace(model_id[:12], run)
        return MILLISECONDS.sub("some ms", value)
    return value


@pytest.fixture(scope="module")
def undisturbed(importable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """Every job in its order, with what there was before it and what it left."""
    name = f"test_decided_{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("world")
    decisions.make_world(name, folder)
    with door_to(os.environ["S3_ENDPOINT"]) as door, topics_for([name]):
        found = Bucket(name, folder, door, decisions.models())
        for job in JOBS:
            found.before[job], since = found.objects(), found.ends()
            door.ready(kill_at=0)
            assert found.run_alone(job) == 0
            found.made[job] = len(door.commits)
            found.after[job] = found.held(since)
        yield found
        found.restore({})


@pytest.mark.parametrize(("job", "number"), CASES, ids=[f"{job}-{number}" for job, number in CASES])
def test_a_killed_job_run_again_leaves_what_it_leaves_undisturbed(undisturbed: Bucket, job: str, number: int) -> None:
    _, writes = JOBS[job]
    undisturbed.restore(undisturbed.before[job])
    since = undisturbed.ends()
    undisturbed.door.ready(kill_at=min(number, writes), after=number > writes)
    assert undisturbed.run_alone(job) == -9
    undisturbed.door.ready(kill_at=0)
    assert undisturbed.run_alone(job) == 0
    assert undisturbed.held(since) == undisturbed.after[job]


def test_every_write_is_a_case(undisturbed: Bucket) -> None:
    killed = {job: writes for job, (_, writes) in JOBS.items() if writes}
    assert {job: writes for job, writes in undisturbed.made.items() if job in killed} == killed
    events = [line["event"] for line in undisturbed.after["demote"]["ledger"]]
    assert events == ["promoted", "promoted", "rolled_back", "promoted", "rolled_back"]
    assert len(undisturbed.after["refuse"]["refusals"]) == 1
