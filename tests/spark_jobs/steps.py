"""Steps that integration tests run in a process of its own: its Spark session has Delta, S3 and the metastore.

A process of its own, because a JVM's class path cannot change once another test's session has started it.
"""

import dataclasses
from datetime import date
from typing import Any

from pyspark.sql import SparkSession

from include import book
from include.settings import MysqlSettings
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving
from include.spark_jobs.catalog import days_between
from include.spark_jobs.session import open_session
from include.use_case import UseCase, load_use_case

BASE = load_use_case("flight_delay")


def named(name: str) -> UseCase:
    """The shipped use case under another name: its own database, prefixes and topics."""
    return dataclasses.replace(BASE, name=name)


def session() -> SparkSession:
    """This process' session."""
    return open_session("tests")


def ingest(name: str, first: date, last: date, run_id: str) -> list[dict[str, Any]]:
    """Ingest a span of days and return the new rows of ``landing_files``."""
    return ingest_raw.ingest(session(), named(name), days_between(first, last), run_id)


def ingest_and_preprocess(name: str, first: date, last: date, run_id: str) -> None:
    """Both jobs over a span of days, each with its book closed."""
    days = days_between(first, last)
    ingest(name, first, last, run_id)
    book.close_ingest_book(named(name), days, run_id)
    preprocess_features.preprocess(session(), named(name), days, run_id)
    book.close_preprocess_book(named(name), days, run_id)


def preprocess(name: str, first: date, last: date, run_id: str) -> None:
    """Preprocess a span of days."""
    preprocess_features.preprocess(session(), named(name), days_between(first, last), run_id)


def refresh(name: str, run_id: str) -> dict[str, int]:
    """Refresh MySQL and return rows by table."""
    return refresh_serving.refresh(session(), named(name), MysqlSettings.from_environment(), run_id)


def drop_database(name: str) -> None:
    """Forget the database in the metastore (its objects stay)."""
    session().sql(f"DROP DATABASE IF EXISTS {name} CASCADE")
