"""A Spark process and use cases of this run, with real days landed, for the recovery tests."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tests.recovery import steps
from tests.spark_jobs.workshop import FIRST, Workshop, feed, spark_process, topics_for

LAST = FIRST + timedelta(days=1)
DAYS = [FIRST, LAST]


@dataclass(frozen=True)
class Worlds:
    """``strict`` was judged by too strict a contract, ``fair`` by the shipped one, ``other`` is for the test."""

    workshop: Workshop
    strict: str
    fair: str
    other: str


@pytest.fixture(scope="package")
def importable() -> None:
    """Let Spark's workers import the tests."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="package")
def worlds(importable: None) -> Iterator[Worlds]:
    """Two days are loaded, once by each contract."""
    mark = uuid.uuid4().hex[:8]
    names = [f"test_{what}_{mark}" for what in ("strict", "fair", "other")]
    with topics_for(names), spark_process(names) as pool:
        workshop = Workshop(pool, *names)
        for name in names[:2]:
            feed(name, LAST)
        workshop.do(steps.load, names[0], FIRST, LAST, steps.TOO_STRICT)
        workshop.do(steps.load, names[1], FIRST, LAST)
        yield Worlds(workshop, *names)
