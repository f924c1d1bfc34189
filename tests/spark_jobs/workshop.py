"""Where the integration tests of Spark jobs work: a process with a Spark session, and use-case names of this run."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest
from confluent_kafka.cimpl import NewTopic

from include.landing import object_sizes, s3_client
from include.landing_writer import put_once
from include.locations import LAKE_BUCKET, LANDING_BUCKET, Topics
from include.settings import KafkaSettings
from include.spark_jobs.session import LONG_LIVED_JVM
from include.use_cases.flight_delay import feeder, upstream
from tests.kafka_topics import make_topics
from tests.spark_jobs import steps

FIRST = steps.BASE.history_start
LAST = FIRST + timedelta(days=2)
DAYS = [FIRST + timedelta(days=n) for n in range(3)]


@dataclass(frozen=True)
class Workshop:
    """A process with a Spark session, and use-case names of this test run."""

    pool: ProcessPoolExecutor
    days: str
    window: str
    odd: str

    def do(self, step: Callable[..., Any], *arguments: Any) -> Any:
        return self.pool.submit(step, *arguments).result()


def topics_of(name: str) -> list[str]:
    topics = Topics(name)
    return [topics.metrics, topics.batch_events, topics.predictions, topics.rejected, topics.models]


@contextmanager
def topics_for(names: list[str]) -> Iterator[None]:
    """The topics of use cases, gone again afterwards."""
    topics = [NewTopic(topic, 1) for name in names for topic in topics_of(name)]
    admin = make_topics(KafkaSettings.from_environment().bootstrap, topics)
    yield
    admin.delete_topics([topic.topic for topic in topics])


@contextmanager
def spark_process(names: list[str]) -> Iterator[ProcessPoolExecutor]:
    """A process for ``steps``; the use cases' databases and objects are gone afterwards.

    Unlike a job's, it lives long enough for the optimising compiler.
    """
    java = f"--driver-class-path {os.environ['SPARK_JARS_DIR']}/* --driver-java-options '{LONG_LIVED_JVM}'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"--driver-memory 1536m {java} pyspark-shell")
        yield from _spark_process(names)


def _spark_process(names: list[str]) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool
        for name in names:
            pool.submit(steps.drop_database, name).result()
    client = s3_client()
    for bucket in (LANDING_BUCKET, LAKE_BUCKET):
        for name in names:
            for key in object_sizes(client, bucket, f"{name}/"):
                client.delete_object(Bucket=bucket, Key=key)


def feed(name: str, last: date = LAST) -> None:
    """Land real days, three or up to ``last``, under a use case's name."""
    client = s3_client()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeder, "USE_CASE", name)
        for key, content in feeder.reference_files(upstream.data_folder()).items():
            put_once(client, key, content)
        feeder.feed(client, FIRST, last)
