"""Steps that integration tests run in a process of its own: its Spark session has Delta, S3 and the metastore.

A process of its own, because a JVM's class path cannot change once another test's session has started it.
"""

import dataclasses
from datetime import date
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include import book
from include.contracts.contract import Field
from include.features.assemble import feature_rows, with_prediction_time
from include.landing import s3_client
from include.settings import MysqlSettings
from include.spark_jobs import compute_statistics as statistics_job
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving, score_predictions
from include.spark_jobs.catalog import DECLARED_PROPERTY, VIEWS, create_tables, days_between, read_table
from include.spark_jobs.session import open_session
from include.tiles.build import TILE_COLUMNS, build_tiles
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
    plan = ingest_raw.plan_ingest(named(name), days_between(first, last))
    return ingest_raw.ingest(session(), named(name), plan, run_id)


def ingest_and_preprocess(name: str, first: date, last: date, run_id: str) -> None:
    """Both jobs over a span of days, each with its book closed."""
    days = days_between(first, last)
    ingest(name, first, last, run_id)
    book.close_ingest_book(named(name), days, run_id)
    preprocess_features.preprocess(session(), named(name), days, run_id)
    book.close_preprocess_book(named(name), days, run_id)


def open_days(name: str, days: list[date]) -> list[date]:
    """Those of the days whose ingest is not closed."""
    create_tables(session(), named(name))
    closed = book.closed_days(named(name), book.INGEST)
    return [day for day in days if day.isoformat() not in closed]


def preprocess(name: str, first: date, last: date, run_id: str) -> None:
    """Preprocess a span of days."""
    preprocess_features.preprocess(session(), named(name), days_between(first, last), run_id)


def refresh(name: str, run_id: str) -> dict[str, int]:
    """Refresh MySQL and return rows by table."""
    return refresh_serving.refresh(session(), named(name), MysqlSettings.from_environment(), run_id)


def score(name: str, run_id: str) -> int:
    """Log and measure predictions; returns how many messages were none."""
    return score_predictions.score(session(), named(name), run_id)


def compute_statistics(name: str, run_id: str) -> int:
    """Compute the statistics; returns how many rows."""
    return statistics_job.compute(session(), named(name), run_id)


def rows_of_views(name: str) -> dict[str, int]:
    """Rows of each view for common questions, all columns read."""
    found = {}
    for path in VIEWS.glob("*.sql"):
        found[path.stem] = len(session().sql(f"SELECT * FROM {name}.{path.stem}").collect())
    return found


def columns_of_an_old_view(name: str) -> list[list[str]]:
    """A view's columns: as another version of the project has left it, and after the next job."""
    spark, found = session(), []
    spark.sql(f"CREATE OR REPLACE VIEW {name}.retracted_files AS SELECT 1 AS old")
    spark.sql(f"ALTER DATABASE {name} SET DBPROPERTIES ('{DECLARED_PROPERTY}' = 'of other texts')")
    for step in (lambda: None, lambda: create_tables(spark, named(name))):
        step()
        found.append(spark.table(f"{name}.retracted_files").columns)
    return found


def columns_of_a_grown_table(name: str) -> list[list[str]]:
    """A raw table's columns before and after a job whose contract has one more field, and what its rows have there."""
    spark, use_case = session(), named(name)
    grown, *others = use_case.sources
    field = Field("declared_later", "double", "For a test", nullable=True)
    sources = (dataclasses.replace(grown, fields=(*grown.fields, field)), *others)
    table, found = f"raw_{grown.name}", []
    for declared in (use_case, dataclasses.replace(use_case, sources=sources)):
        create_tables(spark, declared)
        found.append(read_table(spark, name, table).columns)
    values = read_table(spark, name, table).select(field.name).distinct().collect()
    return [*found, [str(row[field.name]) for row in values]]


def features_seen(name: str, subject_id: str, hidden: dict[str, str], forgotten: str = "") -> dict[str, Any]:
    """A subject's features at its default prediction time by one who did not see all facts.

    ``hidden``: per source the first minute (UTC) of tiles not seen; ``forgotten`` (source/id): a fact of no tile.
    Made from tiles that lack what was not seen, so that it does not depend on how windows are cut.
    """
    use_case, spark = named(name), session()
    facts = {c.name: read_table(spark, name, f"raw_{c.name}") for c in use_case.sources}
    raw = facts[use_case.subject_source].where(F.col("id") == subject_id)
    if forgotten:
        source, fact = forgotten.split("/")
        facts[source] = facts[source].where(F.col("id") != fact)
    tiles = build_tiles(facts, use_case.sources, use_case.tiles).select(*TILE_COLUMNS)
    for source, minute in hidden.items():
        kinds = [tile.name for tile in use_case.tiles if tile.source == source]
        tiles = tiles.where(~F.col("tile").isin(kinds) | (F.col("minute") < F.lit(minute).cast("timestamp")))
    references = preprocess_features.read_references(s3_client(), use_case)
    (row,) = feature_rows(with_prediction_time(raw, use_case), tiles, references, use_case).collect()
    return {feature.name: row[feature.name] for feature in use_case.features.features}


def drop_database(name: str) -> None:
    """Forget the database in the metastore (its objects stay)."""
    session().sql(f"DROP DATABASE IF EXISTS {name} CASCADE")
