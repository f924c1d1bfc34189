"""Three real days under use cases of this run, ingested and preprocessed once for all integration tests here."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.spark_jobs import steps
from tests.spark_jobs.workshop import DAYS, FIRST, LAST, Workshop, feed, spark_process, topics_for


@pytest.fixture(scope="package")
def workshop() -> Iterator[Workshop]:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    mark = uuid.uuid4().hex[:8]
    names = [f"test_{what}_{mark}" for what in ("days", "window", "odd")]
    with topics_for(names), spark_process(names) as pool:
        yield Workshop(pool, *names)


@pytest.fixture(scope="package")
def window(workshop: Workshop) -> Workshop:
    """Three real days in one window."""
    feed(workshop.window)
    workshop.do(steps.ingest_and_preprocess, workshop.window, FIRST, LAST, "window")
    return workshop


@pytest.fixture(scope="package")
def both_paths(window: Workshop) -> Workshop:
    """Three real days, once one after the other and once in one window; the tests of an open day close most of them."""
    feed(window.days)
    for day in window.do(steps.open_days, window.days, DAYS):
        window.do(steps.ingest_and_preprocess, window.days, day, day, f"day {day}")
    return window
