"""Fixtures and settings for every test: one local Spark session, without any server; no example is timed."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pyspark.sql import SparkSession

from include.spark_jobs.session import SHORT_LIVED_JVM

ROOT = Path(__file__).resolve().parents[1]
#: The embedded default's Java, once installed; else JAVA_HOME or the java on the path.
LOCAL_JAVA = ROOT / ".local" / "java"

# A busy machine makes any example slow: how long one takes says nothing about what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def _prepare_environment() -> None:
    """Let Spark find Java, this interpreter, and (in its workers) the ``include`` package."""
    if "JAVA_HOME" not in os.environ and (LOCAL_JAVA / "bin" / "java").exists():
        os.environ["JAVA_HOME"] = str(LOCAL_JAVA)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A Spark session in UTC on two threads, with few partitions."""
    _prepare_environment()
    session = (
        SparkSession.builder.master("local[2]")
        .appName("tests")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.variant.allowDuplicateKeys", "true")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.default.parallelism", "2")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.extraJavaOptions", SHORT_LIVED_JVM)
        .config("spark.sql.sources.default", "parquet")
        .getOrCreate()
    )
    yield session
    session.stop()
