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
    """``strict`` was judged by too strict a contract, ``fair`` by the shipped one; ``other`` and ``killed`` are empty
    and for the test that wants one."""

    workshop: Workshop
    strict: str
    fair: str
    other: str
    killed: str


@pytest.fixture(scope="package")
def empty() -> Iterator[Worlds]:
    """The Spark process; nothing has landed."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    mark = uuid.uuid4().hex[:8]
    names = [f"test_{what}_{mark}" for what in ("strict", "fair", "other", "killed")]
    with topics_for(names), spark_process(names) as pool:
        yield Worlds(Workshop(pool, *names[:3]), *names)


@pytest.fixture(scope="package")
def worlds(empty: Worlds) -> Worlds:
    """Two days are loaded, once by each contract."""
    for name in (empty.strict, empty.fair):
        feed(name, LAST)
    empty.workshop.do(steps.load, empty.strict, FIRST, LAST, steps.TOO_STRICT)
    empty.workshop.do(steps.load, empty.fair, FIRST, LAST)
    return empty
