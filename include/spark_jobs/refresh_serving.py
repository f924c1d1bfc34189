"""Refresh: the lake's recent days and the speed layer's open day -> MySQL. Readers see the old tables or the new ones,
never a mix.

``refresh_serving.py --use-case NAME --run-id ID``

Every table is written beside the one in use (``<table>__next``); one ``RENAME TABLE`` statement then swaps them all.
"Recent" is data time: the last days before the newest day whose ingest book is closed, none before it open. What came
after it is *open*: it goes into tables of its own (``<table>_open``, layer ``speed``), and views join the two.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import pymysql
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from include import book
from include.contracts.contract import Contract
from include.locations import Topics
from include.predictions.positions import unread_now
from include.settings import KafkaSettings, MysqlSettings
from include.spark_jobs.catalog import counting_facts, create_tables, facts_for, of_days, read_table
from include.spark_jobs.open_day import OpenSource, open_source, unlogged_predictions
from include.spark_jobs.session import run_arguments, start_job
from include.tables import (
    ALERTS,
    DATA_QUALITY,
    LABELS,
    MODEL_QUALITY,
    RUNTIME_METRICS,
    STATISTICS,
    predictions_table,
)
from include.target import Target
from include.use_case import UseCase, load_use_case

log = logging.getLogger("refresh_serving")

SQL = Path(__file__).resolve().parents[1] / "sql" / "mysql"
BATCH, SPEED = "batch", "speed"
#: What holds a table's open days; a view of the name without ``recent_`` and with ``_now`` joins both.
OPEN = "_open"
RECENT_EVENTS, RECENT_PREDICTIONS = "recent_events", "recent_predictions"
PREDICTION_STATS = "prediction_stats"
#: Steps of probability that ``prediction_stats`` counts by.
PROBABILITY_STEPS = 10
LOCK_SECONDS = 60
MYSQL_TYPES: Mapping[type[DataType], str] = {
    StringType: "VARCHAR(255)",
    LongType: "BIGINT",
    IntegerType: "INT",
    DoubleType: "DOUBLE",
    BooleanType: "BOOLEAN",
    TimestampType: "DATETIME(6)",
}
#: Texts that may be long; they get no index.
LONG_TEXTS = frozenset({"fact", "as_of_sources", "metric_id", "alert_id", "message"})
TIMESTAMP_FORMAT = "yyyy-MM-dd HH:mm:ss.SSSSSS"
NEXT = "__next"
OLD = "__old"
#: Tables filled side by side: each waits for a plan, for rows, and for MySQL.
TABLES_AT_ONCE = 3
#: How long it is told what a refresh did.
LOG_DAYS = 30


class NothingToServe(ValueError):
    """No day is ingested and closed yet, so there is nothing recent."""


class RefreshRunning(RuntimeError):
    """Another refresh of the same MySQL database holds the lock."""


@dataclass(frozen=True)
class Span:
    """The recent days, and what every row says about its refresh."""

    first: date
    last: date
    as_of: datetime
    run_id: str

    @property
    def complete_through(self) -> datetime:
        """The moment up to which facts are complete: the end of the last day."""
        return datetime.combine(self.last + timedelta(days=1), datetime.min.time(), UTC)


def recent_span(closed: set[str], recent_days: int, as_of: datetime, run_id: str) -> Span:
    """The last ``recent_days`` days up to the newest closed one; raises ``NothingToServe``."""
    if not closed:
        raise NothingToServe("no ingest book is closed yet: run ingest_raw or ingest_window first")
    last = last_before_gap(sorted(map(date.fromisoformat, closed)), recent_days)
    return Span(last - timedelta(days=recent_days - 1), last, as_of, run_id)


def last_before_gap(days: Sequence[date], recent_days: int) -> date:
    """The last of the newest ``recent_days`` days (in order) before which none of them is missing."""
    recent = [day for day in days if day > days[-1] - timedelta(days=recent_days)]
    for day, following in pairwise(recent):
        if following - day > timedelta(days=1):
            return day
    return recent[-1]


def events_of(facts: DataFrame, contract: Contract) -> DataFrame:
    """Facts of any source in one form: the fields as a JSON text."""
    fact = F.to_json(F.struct(*contract.field_names))
    return facts.select(
        F.lit(contract.name).alias("source"),
        F.col(contract.key).alias("id"),
        "available_at",
        "moment",
        fact.alias("fact"),
        "ds",
    )


def recent_events(spark: SparkSession, use_case: UseCase, span: Span) -> DataFrame:
    """Every fact that became available in the recent days."""
    frames = []
    for contract in use_case.sources:
        facts = of_days(counting_facts(spark, use_case.name, contract.name), span.first, span.last)
        frames.append(events_of(facts, contract))
    return reduce(DataFrame.unionByName, frames)


def recent_predictions(predictions: DataFrame, labels: DataFrame, use_case: UseCase, span: Span) -> DataFrame:
    """The predictions of the recent days and of those that are still open, with ``label`` where it is known."""
    return served_predictions(predictions.where(F.col("ds") >= span.first.isoformat()), labels, use_case, span)


def served_predictions(predictions: DataFrame, labels: DataFrame, use_case: UseCase, span: Span) -> DataFrame:
    """Predictions as MySQL shows them, with ``label`` where it is known."""
    first = (span.first - timedelta(days=use_case.lead_days)).isoformat()
    known = labels.where(F.col("ds") >= first).select(F.col("subject_id").alias("id"), "label")
    return predictions.join(known, "id", "left").select(
        "id",
        "model_id",
        use_case.target.answer,
        "prediction_time",
        "predicted_at",
        "degraded",
        F.to_json("as_of", {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss'Z'", "ignoreNullFields": "false"}).alias(
            "as_of_sources"
        ),
        "label",
        "ds",
    )


def prediction_stats(served: DataFrame, target: Target) -> DataFrame:
    """Served predictions by day, model and step of the answer: every chart of many predictions reads these few rows.

    ``<answer>_from`` is the step's lower end. ``mean_<answer>`` is of all its predictions, ``mean_<answer>_labelled``
    of the ``labelled`` ones, whose outcome is known; ``positives`` is the sum of their labels.
    """
    answer, known = target.answer, F.col("label").isNotNull()
    return served.groupBy("ds", "model_id", answer_step(target).alias(f"{answer}_from")).agg(
        F.count("*").alias("predictions"),
        F.count_if("degraded").alias("degraded"),
        F.avg(answer).alias(f"mean_{answer}"),
        F.count("label").alias("labelled"),
        F.coalesce(F.sum("label"), F.lit(0)).alias("positives"),
        F.avg(F.when(known, F.col(answer))).alias(f"mean_{answer}_labelled"),
    )


def answer_step(target: Target) -> Column:
    """The lower end of the answer's step: equal steps of a probability; of a count those from one square number to the
    next, so that small counts are told apart and large ones are few."""
    answer = F.col(target.answer)
    if target.kind == "count":
        return F.pow(F.floor(F.sqrt(answer)), F.lit(2))
    step = F.least(F.floor(answer * PROBABILITY_STEPS), F.lit(PROBABILITY_STEPS - 1))
    return step / PROBABILITY_STEPS


def newest_days(frame: DataFrame, days: int) -> DataFrame:
    """Only the rows of the newest ``days`` days that the table has."""
    newest = frame.agg(F.max("ds")).first()
    if newest is None or newest[0] is None:
        return frame
    first = date.fromisoformat(newest[0]) - timedelta(days=days - 1)
    return frame.where(F.col("ds") >= first.isoformat())


def few_buckets(metrics: DataFrame) -> DataFrame:
    """Run-time metrics, but of histograms' buckets, which are most of them, each process' greatest of a day alone.

    Buckets only grow, so that is the newest; but a container that is started again begins at 0 under the same name.
    """
    bucket = F.col("name").contains("_bucket{")
    greatest = (
        metrics.where(bucket)
        .groupBy("ds", "instance", "name")
        .agg(F.max_by(F.struct(*metrics.columns), F.struct("value", "time")).alias("row"))
        .select("row.*")
    )
    return metrics.where(~bucket).unionByName(greatest)


def with_open_facts(closed: DataFrame, source: OpenSource, contract: Contract) -> DataFrame:
    """The facts of closed days, and those of open ones after them, as statistics read them."""
    return closed.select(*contract.field_names, "available_at", "moment", "ds").unionByName(source.facts)


def batch_frames(
    spark: SparkSession, use_case: UseCase, span: Span, predictions: DataFrame, sources: Mapping[str, OpenSource]
) -> dict[str, DataFrame]:
    """Every table of the closed days by name, without the columns about the refresh.

    A fact of an open day may speak of a closed one, whose statistics count it then.
    """
    name = use_case.name
    facts = {
        c.name: with_open_facts(facts_for(spark, name, c, span.first, span.last), sources[c.name], c)
        for c in use_case.sources
    }
    facts[LABELS.name] = of_days(read_table(spark, name, LABELS.name), span.first, span.last)
    statistics = {
        table: of_days(function(facts), span.first, span.last)
        for table, function in use_case.serving.statistics.items()
    }
    served = recent_predictions(predictions, read_table(spark, name, LABELS.name), use_case, span)
    return {
        RECENT_EVENTS: recent_events(spark, use_case, span),
        **statistics,
        RECENT_PREDICTIONS: served,
        PREDICTION_STATS: prediction_stats(served, use_case.target),
        MODEL_QUALITY: without_run(read_table(spark, name, MODEL_QUALITY)),
        RUNTIME_METRICS.name: without_run(
            few_buckets(newest_days(read_table(spark, name, RUNTIME_METRICS.name), use_case.serving.recent_days))
        ),
        DATA_QUALITY.name: with_thresholds(
            without_run(of_days(read_table(spark, name, DATA_QUALITY.name), span.first, span.last)),
            use_case.quality.thresholds,
        ),
        STATISTICS.name: without_run(newest_days(read_table(spark, name, STATISTICS.name), 1)),
        ALERTS.name: without_run(newest_days(read_table(spark, name, ALERTS.name), use_case.serving.recent_days)),
    }


def open_frames(
    spark: SparkSession, use_case: UseCase, span: Span, sources: Mapping[str, OpenSource], unlogged: DataFrame | None
) -> dict[str, DataFrame]:
    """The tables of the open days by name: the same statistics, of the same facts, as far as they have come.

    A statistic's day may be open for a fact that was announced on a closed one, so those facts are counted with them.
    """
    facts, last = {}, span.last.isoformat()
    for contract in use_case.sources:
        announced = facts_for(spark, use_case.name, contract, span.last, span.last)
        facts[contract.name] = with_open_facts(announced, sources[contract.name], contract)
    labels = read_table(spark, use_case.name, LABELS.name)
    facts[LABELS.name] = labels.where(F.col("ds") > last)
    events = [events_of(sources[contract.name].facts, contract) for contract in use_case.sources]
    statistics = {
        # A fact may speak of a day far ahead; an open day is one that has begun to be known.
        table + OPEN: function(facts).where(F.col("ds") > last)
        for table, function in use_case.serving.statistics.items()
    }
    none = read_table(spark, use_case.name, predictions_table(use_case).name).where("false")
    served = served_predictions(none if unlogged is None else unlogged, labels, use_case, span)
    return {
        RECENT_EVENTS + OPEN: reduce(DataFrame.unionByName, events),
        **statistics,
        RECENT_PREDICTIONS + OPEN: served,
        PREDICTION_STATS + OPEN: prediction_stats(served, use_case.target),
    }


def view_name(table: str) -> str:
    """The view that joins a table's closed and open days: ``recent_events`` has ``events_now``."""
    return table.removeprefix("recent_") + "_now"


def view_ddl(table: str) -> str:
    """Closed days from batch, then the open ones from the speed layer. Both tables are swapped by one statement."""
    closed, opened = identifier(table), identifier(table + OPEN)
    return (
        f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {identifier(view_name(table))} AS "
        f"SELECT * FROM {closed} UNION ALL SELECT * FROM {opened}"
    )


def without_run(frame: DataFrame) -> DataFrame:
    """Keep the run that measured a metric as ``measured_by``: ``run_id`` is the refresh's in every table."""
    return frame.withColumnRenamed("run_id", "measured_by")


def with_thresholds(scorecard: DataFrame, thresholds: Mapping[str, float]) -> DataFrame:
    """Add to each value the least share that its dimension must have; null where the use case asks for none."""
    threshold = F.lit(None).cast("double")
    for dimension, least in thresholds.items():
        threshold = F.when(F.col("dimension") == dimension, F.lit(least)).otherwise(threshold)
    return scorecard.withColumn("threshold", threshold)


def stamped(frame: DataFrame, span: Span, layer: str = BATCH, complete_through: datetime | None = None) -> DataFrame:
    """Add what every table says about its refresh; an open day is complete through another moment."""
    return frame.withColumns(
        {
            "complete_through": F.lit(complete_through or span.complete_through),
            "as_of": F.lit(span.as_of),
            "run_id": F.lit(span.run_id),
            "layer": F.lit(layer),
        }
    )


def identifier(name: str) -> str:
    """A MySQL identifier in backquotes; raises ``ValueError`` for one that is not a plain name."""
    if not name.replace("_", "a").isalnum():
        raise ValueError(f"{name!r} is not a plain SQL name")
    return f"`{name}`"


def mysql_type(table: str, field: StructField) -> str:
    """A column's type in MySQL; raises ``ValueError`` for one of a type that no table there has."""
    if field.name in LONG_TEXTS:
        return "TEXT"
    if type(field.dataType) not in MYSQL_TYPES:
        known = ", ".join(kind().simpleString() for kind in MYSQL_TYPES)
        raise ValueError(
            f"table {table.removesuffix(NEXT)}: column {field.name} is a {field.dataType.simpleString()}, which MySQL "
            f"is not given: cast it to one of {known} (a date to string)"
        )
    return MYSQL_TYPES[type(field.dataType)]


def mysql_ddl(table: str, schema: StructType) -> str:
    """The CREATE TABLE statement for a frame's columns, with an index on the day."""
    columns = ", ".join(f"{identifier(field.name)} {mysql_type(table, field)}" for field in schema)
    return f"CREATE TABLE {identifier(table)} ({columns}, KEY (`ds`)) CHARACTER SET utf8mb4"


def swap_statement(tables: Sequence[str], existing: set[str]) -> str:
    """One statement that puts every ``__next`` table in the place of the one in use (kept as ``__old``)."""
    renames = []
    for table in tables:
        if table in existing:
            renames.append(f"{identifier(table)} TO {identifier(table + OLD)}")
        renames.append(f"{identifier(table + NEXT)} TO {identifier(table)}")
    return "RENAME TABLE " + ", ".join(renames)


def statement(name: str) -> str:
    """The text of a statement in ``include/sql/mysql``."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def refresh_lock(settings: MysqlSettings) -> Iterator[Any]:
    """A MySQL connection that holds the lock of its database's refreshes; raises ``RefreshRunning`` after a minute."""
    connection = pymysql.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
        charset="utf8mb4",
        autocommit=True,
    )
    name = f"{settings.database}.refresh_serving"
    with connection, connection.cursor() as cursor:
        cursor.execute(statement("lock"), {"name": name, "seconds": LOCK_SECONDS})
        if cursor.fetchone() != (1,):
            raise RefreshRunning(
                f"another refresh of database {settings.database} is running: MySQL lock {name!r} is held"
            )
        try:
            yield cursor
        finally:
            cursor.execute(statement("unlock"), {"name": name})


def existing_tables(cursor: Any) -> set[str]:
    """The tables of the database now."""
    cursor.execute(statement("list_tables"))
    return {str(name) for (name,) in cursor.fetchall()}


def drop_tables(cursor: Any, tables: Sequence[str]) -> None:
    """Drop tables that may exist."""
    if tables:
        cursor.execute("DROP TABLE IF EXISTS " + ", ".join(identifier(table) for table in tables))


def jdbc_options(settings: MysqlSettings, table: str) -> dict[str, str]:
    """Options for Spark's JDBC writer; ``jdbc:mysql`` picks Spark's MySQL dialect, which MariaDB's driver accepts."""
    return {
        "url": f"jdbc:mysql://{settings.host}:{settings.port}/{settings.database}"
        "?rewriteBatchedStatements=true&allowPublicKeyRetrieval=true",
        "driver": "org.mariadb.jdbc.Driver",
        "dbtable": identifier(table),
        "user": settings.user,
        "password": settings.password,
        "batchsize": "5000",
        "numPartitions": "2",
    }


def with_text_times(frame: DataFrame) -> DataFrame:
    """Timestamps as texts in UTC: MySQL's DATETIME then cannot depend on the time zone of any JVM."""
    times = [f.name for f in frame.schema if isinstance(f.dataType, TimestampType)]
    return frame.withColumns({name: F.date_format(name, TIMESTAMP_FORMAT) for name in times})


def write_next(cursor: Any, settings: MysqlSettings, frames: Mapping[str, DataFrame]) -> dict[str, int]:
    """Create and fill every ``<table>__next``; returns rows by table."""

    def fill(table: str) -> None:
        options = jdbc_options(settings, table + NEXT)
        with_text_times(frames[table]).coalesce(2).write.format("jdbc").mode("append").options(**options).save()

    for table, frame in frames.items():
        cursor.execute(mysql_ddl(table + NEXT, frame.schema))
    with ThreadPoolExecutor(TABLES_AT_ONCE) as pool:
        list(pool.map(fill, frames))
    rows = {}
    for table in frames:
        cursor.execute(f"SELECT COUNT(*) FROM {identifier(table + NEXT)}")
        rows[table] = int(cursor.fetchone()[0])
    return rows


def refresh(
    spark: SparkSession, use_case: UseCase, settings: MysqlSettings, run_id: str, kafka: KafkaSettings | None = None
) -> dict[str, int]:
    """Replace every table of the short-term store at once; returns rows by table."""
    started = time.monotonic()
    closed = book.closed_days(use_case, book.INGEST)
    span = recent_span(closed, use_case.serving.recent_days, datetime.now(UTC), run_id)
    create_tables(spark, use_case)  # one may be declared since the last ingest
    with refresh_lock(settings) as cursor:
        positions = read_positions(cursor, span)
        through = read_open_through(cursor, span)
        found = all_frames(spark, use_case, span, kafka or KafkaSettings.from_environment(), positions, through)
        frames = found.tables
        drop_tables(cursor, [table + suffix for table in frames for suffix in (NEXT, OLD)])
        rows = write_next(cursor, settings, frames)
        replaced = existing_tables(cursor) & set(frames)
        cursor.execute(swap_statement(list(frames), replaced))
        drop_tables(cursor, [table + OLD for table in replaced])
        create_views(cursor, [table.removesuffix(OPEN) for table in frames if table.endswith(OPEN)])
        write_positions(cursor, span, found.positions)
        write_log(cursor, span, rows, time.monotonic() - started, found.complete_through)
    log.info("%s to %s in MySQL after %.1f s: %s", span.first, span.last, time.monotonic() - started, rows)
    return rows


#: (topic, partition) -> the first offset that the next refresh needs.
TopicPositions = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Frames:
    """Every table with what it says about its refresh, from where on the next one has to read the topics, and up to
    when the open day is complete."""

    tables: dict[str, DataFrame]
    positions: TopicPositions
    complete_through: datetime


def all_frames(
    spark: SparkSession,
    use_case: UseCase,
    span: Span,
    kafka: KafkaSettings,
    positions: TopicPositions,
    known_through: datetime,
) -> Frames:
    """Closed and open days, as of now; an earlier refresh knew the open day through ``known_through``."""
    unread = unread_now(use_case.name, kafka)  # before the table's version is looked up: see unlogged_predictions
    predictions = read_table(spark, use_case.name, predictions_table(use_case).name)
    sources: dict[str, OpenSource] = {}
    after: TopicPositions = {}
    for contract in use_case.sources:
        topic = Topics(use_case.name).facts(contract.name)
        known = {number: offset for (name, number), offset in positions.items() if name == topic}
        found = open_source(spark, use_case, contract, kafka, span.last.isoformat(), known)
        sources[contract.name] = found
        after |= {(topic, number): offset for number, offset in found.positions.items()}
    through = complete_through(span, sources, known_through)
    unlogged = unlogged_predictions(spark, use_case, kafka, unread, predictions)
    frames = {table: stamped(f, span) for table, f in batch_frames(spark, use_case, span, predictions, sources).items()}
    for table, frame in open_frames(spark, use_case, span, sources, unlogged).items():
        frames[table] = stamped(frame, span, SPEED, through)
    return Frames(frames, after, through)


def complete_through(span: Span, sources: Mapping[str, OpenSource], known: datetime) -> datetime:
    """Up to when the open day is complete: as far as the slowest source has come, never less than was ``known``."""
    return max(known, min(found.seen or span.complete_through for found in sources.values()))


def create_views(cursor: Any, tables: Sequence[str]) -> None:
    """Create the views that are missing or lack a column of their table. One that fits is left alone."""
    cursor.execute(statement("view_columns"))
    columns: dict[str, set[str]] = {}
    for table, column in cursor.fetchall():
        columns.setdefault(str(table), set()).add(str(column))
    for table in tables:
        if columns.get(view_name(table)) != columns[table]:
            cursor.execute(view_ddl(table))


def read_positions(cursor: Any, span: Span) -> TopicPositions:
    """Where to go on reading; from the start when the closed days reach less far than when it was noted."""
    cursor.execute(statement("create_refresh_positions"))
    cursor.execute(statement("read_refresh_positions"), {"ds": span.last.isoformat()})
    return {(str(topic), int(number)): int(offset) for topic, number, offset in cursor.fetchall()}


def write_positions(cursor: Any, span: Span, positions: TopicPositions) -> None:
    """Note where the next refresh has to read on."""
    lines = [
        {"topic": topic, "partition": number, "offset": offset, "ds": span.last.isoformat()}
        for (topic, number), offset in positions.items()
    ]
    if lines:
        cursor.executemany(statement("write_refresh_positions"), lines)


def read_open_through(cursor: Any, span: Span) -> datetime:
    """Up to when the open day was complete before: a source that says nothing anew takes nothing back."""
    cursor.execute(statement("create_refresh_log"))
    cursor.execute(statement("last_open_through"), {"layer": SPEED, "ds": span.last.isoformat()})
    found: datetime | None = cursor.fetchone()[0]
    return found.replace(tzinfo=UTC) if found else span.complete_through


def write_log(cursor: Any, span: Span, rows: Mapping[str, int], seconds: float, open_through: datetime) -> None:
    """Append one line per table to ``refresh_log``; those of the open day are complete through ``open_through``.

    Lines older than ``LOG_DAYS`` go.
    """
    cursor.execute(statement("create_refresh_log"))
    about: dict[str, Any] = {
        "run_id": span.run_id,
        "seconds": seconds,
        "as_of": span.as_of.replace(tzinfo=None),
        "ds": span.last.isoformat(),
    }
    layers = {BATCH: span.complete_through, SPEED: open_through}
    lines = []
    for table, count in rows.items():
        layer = SPEED if table.endswith(OPEN) else BATCH
        through = layers[layer].replace(tzinfo=None)
        lines.append({**about, "table_name": table, "row_count": count, "layer": layer, "complete_through": through})
    cursor.executemany(statement("insert_refresh_log"), lines)
    cursor.execute(statement("expire_refresh_log"), {"before": about["as_of"] - timedelta(days=LOG_DAYS)})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    args = run_arguments(argv, __doc__)
    use_case = load_use_case(args.use_case)
    spark = start_job(f"refresh_serving {args.use_case}")
    refresh(spark, use_case, MysqlSettings.from_environment(), args.run_id)
    spark.stop()


if __name__ == "__main__":
    main()
