"""The use case's database and tables in the Hive metastore: created once, with comments, and read by Spark jobs."""

import hashlib
import logging
import math
from collections.abc import Collection, Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.contracts.contract import Contract
from include.locations import LAKE_BUCKET, Lake
from include.spark_jobs.session import DELTA_PROPERTIES, SHUFFLE_PARTITIONS
from include.tables import Column, Table, all_tables
from include.tombstones import retracted_files
from include.use_case import UseCase

log = logging.getLogger(__name__)

VIEWS = Path(__file__).resolve().parents[1] / "sql" / "hive"
#: Of the database: by which declarations its tables and views are as they are.
DECLARED_PROPERTY = "lambda_dl.declared"
#: Statements at once: each waits for S3 and the metastore in turn; on two cores eight take half the time of one.
CREATED_AT_ONCE = 8
DAYS_A_PART = 8
#: A short span is cut by the day, up to so many parts.
SHORT_SPAN_PARTS = 4


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included; raises ``ValueError`` if the span is empty."""
    if last < first:
        raise ValueError(f"the span of days is empty: it starts on {first} and ends on {last}")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def quoted(text: str) -> str:
    """A Spark SQL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def column_ddl(column: Column) -> str:
    """One column of a CREATE TABLE statement."""
    return f"`{column.name}` {column.type} COMMENT {quoted(column.comment)}"


def table_ddl(use_case: str, table: Table) -> str:
    """The CREATE TABLE statement of a Delta table partitioned by ``ds`` that delta-rs can write too."""
    columns = ", ".join(column_ddl(column) for column in table.columns)
    properties = ", ".join(f"{quoted(name)} = {quoted(value)}" for name, value in DELTA_PROPERTIES.items())
    lake = Lake(use_case)
    return (
        f"CREATE TABLE IF NOT EXISTS {lake.name(table.name)} ({columns}) USING DELTA PARTITIONED BY (ds) "
        f"LOCATION {quoted(lake.path(table.name))} COMMENT {quoted(table.comment)} TBLPROPERTIES ({properties})"
    )


def view_ddl(use_case: UseCase, name: str, text: str) -> str:
    """The statement for one of the views in ``include/sql/hive``: its first line is the view's comment."""
    first, _, query = text.partition("\n")
    comment = first.removeprefix("--").strip()
    figures = ", ".join(metric.name for metric in use_case.target.metrics)
    body = query.replace("{database}", use_case.name).replace("{figures}", figures)
    return f"CREATE OR REPLACE VIEW {Lake(use_case.name).name(name)} COMMENT {quoted(comment)} AS {body}"


def view_statements(use_case: UseCase) -> dict[str, str]:
    """The statements for the views of the common questions, by name."""
    paths = sorted(VIEWS.glob("*.sql"))
    return {path.stem: view_ddl(use_case, path.stem, path.read_text(encoding="utf-8")) for path in paths}


def add_columns(spark: SparkSession, use_case: str, table: Table) -> None:
    """Add to a table the columns that have been declared since it was made; in rows that are there they are null."""
    new = missing_columns(spark, use_case, table)
    if not new:
        return
    columns = ", ".join(column_ddl(column) for column in new)
    try:
        spark.sql(f"ALTER TABLE {Lake(use_case).name(table.name)} ADD COLUMNS ({columns})")
    except Exception:
        if missing_columns(spark, use_case, table):  # else another job has added them at the same time
            raise
    log.info("%s has new columns: %s", table.name, ", ".join(column.name for column in new))


def missing_columns(spark: SparkSession, use_case: str, table: Table) -> list[Column]:
    """What is declared of a table and not in it."""
    kept = {name.lower() for name in read_table(spark, use_case, table.name).columns}
    return [column for column in table.columns if column.name.lower() not in kept]


def bring_up_to_date(spark: SparkSession, use_case: UseCase, there: Set[str]) -> None:
    """Columns for the tables that were ``there``, and the views anew, unless all are as declared now."""
    tables, views = all_tables(use_case), view_statements(use_case)
    declared = [*(table_ddl(use_case.name, table) for table in tables), *views.values()]
    digest = hashlib.sha256("".join(declared).encode()).hexdigest()
    about = {row[0]: row[1] for row in spark.sql(f"DESCRIBE DATABASE EXTENDED {use_case.name}").collect()}
    names = {*(table.name for table in tables), *views}
    if there >= names and f"({DECLARED_PROPERTY},{digest})" in about.get("Properties", ""):
        return
    for table in tables:
        if table.name in there:
            add_columns(spark, use_case.name, table)
    for statement in views.values():
        spark.sql(statement)
    spark.sql(f"ALTER DATABASE {use_case.name} SET DBPROPERTIES ({quoted(DECLARED_PROPERTY)} = {quoted(digest)})")


def create_tables(spark: SparkSession, use_case: UseCase) -> list[str]:
    """Create the database and what is missing of its tables, columns and views; returns the names of new tables."""
    location = quoted(f"s3a://{LAKE_BUCKET}/{use_case.name}")
    spark.sql(f"CREATE DATABASE IF NOT EXISTS {use_case.name} COMMENT {quoted(use_case.comment)} LOCATION {location}")
    there = {row.tableName for row in spark.sql(f"SHOW TABLES IN {use_case.name}").collect()}
    missing = [table for table in all_tables(use_case) if table.name not in there]
    with ThreadPoolExecutor(CREATED_AT_ONCE) as pool:
        list(pool.map(lambda table: spark.sql(table_ddl(use_case.name, table)), missing))
    bring_up_to_date(spark, use_case, there)
    if missing:
        log.info("created %d tables in %s", len(missing), use_case.name)
    return [table.name for table in missing]


def of_days(frame: DataFrame, first: date, last: date) -> DataFrame:
    """Only the rows whose ``ds`` lies in a span of days, both ends included."""
    return frame.where(F.col("ds").between(first.isoformat(), last.isoformat()))


def read_table(spark: SparkSession, use_case: str, table: str) -> DataFrame:
    """A table of the lake, by its path (one metastore call less than by name)."""
    return spark.read.format("delta").load(Lake(use_case).path(table))


def counting_facts(
    spark: SparkSession, use_case: str, source: str, withdrawn: Collection[str] | None = None
) -> DataFrame:
    """A source's raw facts that count: all but those of ``withdrawn`` landing files (default: as of now)."""
    files = retracted_files(use_case, source) if withdrawn is None else sorted(withdrawn)
    return counting(read_table(spark, use_case, f"raw_{source}"), files)


def counting(rows: DataFrame, withdrawn: Sequence[str]) -> DataFrame:
    """Only the rows of landing files that are not among ``withdrawn``."""
    return rows.where(~F.col("landing_key").isin(list(withdrawn))) if withdrawn else rows


def facts_for(
    spark: SparkSession,
    use_case: str,
    contract: Contract,
    first: date,
    last: date,
    withdrawn: Collection[str] | None = None,
) -> DataFrame:
    """A source's raw facts that can belong to a span of days: announced before it, or available in it.

    ``withdrawn``: the landing files that do not count (default: those that are withdrawn now).
    """
    raw = counting_facts(spark, use_case, contract.name, withdrawn)
    return of_days(raw, first - timedelta(days=contract.announced_days), last)


def partitions_of(days: int) -> int:
    """Into how many parts of whole days a span is cut: a task has as much to do in a year as in a month."""
    return max(min(days, SHORT_SPAN_PARTS), math.ceil(days / DAYS_A_PART))


def shuffle_by_span(spark: SparkSession, days: int) -> None:
    """Shuffle into as many parts as a span of so many days has, where the deployment does not say more.

    In a few parts for any span, what one task sorts fills its share of the heap: it is spilled, and the heap collected
    again and again.
    """
    configured = int(spark.sparkContext.getConf().get(SHUFFLE_PARTITIONS, "1"))
    spark.conf.set(SHUFFLE_PARTITIONS, max(configured, partitions_of(days)))


def replace_days(frame: DataFrame, use_case: str, table: Table, days: Iterable[date], run_id: str) -> None:
    """Rewrite whole days of a derived table in one atomic commit; the same days again give the same table."""
    names = ", ".join(quoted(day.isoformat()) for day in sorted(set(days)))
    (
        frame.select(*(column.name for column in table.columns))
        .write.format("delta")
        .mode("overwrite")
        .option("replaceWhere", f"ds IN ({names})")
        .option("userMetadata", run_id)
        .save(Lake(use_case).path(table.name))
    )
