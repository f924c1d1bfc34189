"""Preprocess: raw facts of a span of days -> tiles, features, closed labels; announces each finished day on Kafka.

``preprocess_features.py --use-case NAME --from YYYY-MM-DD --to YYYY-MM-DD --run-id ID``

Whole days of a derived table are rewritten in one commit, so the same days again give the same tables, and a span in
one run the same as its days one by one. Refuses while a day that the windows need has an open ingest book.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include import book, lake
from include.contracts.contract import Contract
from include.features.assemble import buckets_of, feature_rows, with_prediction_time
from include.features.columns import read_reference
from include.impact import span
from include.landing import reference_content, s3_client
from include.locations import Topics
from include.metrics import data_quality_id
from include.settings import KafkaSettings
from include.spark_jobs.assess_quality import Share, assess
from include.spark_jobs.catalog import (
    add_columns,
    days_between,
    facts_for,
    of_days,
    partitions_of,
    read_table,
    replace_days,
    shuffle_by_span,
)
from include.spark_jobs.session import job_arguments, start_job
from include.tables import BOOK, LABELS, TILES, features_table
from include.target import Target
from include.tiles.build import build_tiles, tile_day
from include.tombstones import read_events
from include.use_case import UseCase, load_use_case

log = logging.getLogger("preprocess_features")

#: The day on which a subject was announced, beside its own: a name that no field can have.
ANNOUNCED = "announced on"


class EarlierDaysOpen(ValueError):
    """Days that the windows need are not ingested and closed; the message names them."""


def refuse_open_days(use_case: UseCase, days: Sequence[date], closed: set[str]) -> None:
    """Raise ``EarlierDaysOpen`` naming the days that ``days`` need and that are not in ``closed``."""
    needed = {day for wanted in days for day in book.days_needed(use_case, wanted)}
    open_days = [ds for ds in book.names_of(needed) if ds not in closed]
    if open_days:
        raise EarlierDaysOpen(
            f"{len(open_days)} day(s) that the features of {days[0]} to {days[-1]} need are not ingested and closed: "
            f"{', '.join(open_days)}. Ingest them first (ingest_raw, or ingest_window for many days)"
        )


def tile_days(use_case: UseCase, days: Sequence[date], done: set[str]) -> list[date]:
    """The days whose tiles to build: ``days``, and earlier ones they need that no closed run has built (``done``)."""
    needed = {day for wanted in days for day in book.days_needed(use_case, wanted)}
    return sorted({*days, *(day for day in needed if day.isoformat() not in done)})


def days_tiled(use_case: UseCase) -> set[str]:
    """The days whose tiles are there as a closed run has built them, of the facts that count now."""
    built = book.closed_since(use_case, book.PREPROCESS)
    changed = last_changes(use_case, read_events(use_case.name))
    # Tiles may have been let go of (see ``maintenance``), the book is not.
    there = lake.rows_by_day(use_case.name, TILES.name).keys() & built.keys()
    return {ds for ds in there if ds not in changed or changed[ds] < built[ds]}


def last_changes(use_case: UseCase, events: Iterable[Mapping[str, Any]]) -> dict[str, datetime]:
    """The days whose tiles may hold facts that were withdrawn or restored, each with the last time that any were."""
    found: dict[str, datetime] = {}
    for event in events:
        first = date.fromisoformat(str(event["ds"]))
        for day in span(first, first + timedelta(days=use_case.source(str(event["source"])).announced_days)):
            ds = day.isoformat()
            found[ds] = max(found.get(ds, event["time"]), event["time"])
    return found


def of_named_days(frame: DataFrame, days: Sequence[date]) -> DataFrame:
    """Only the rows of exactly these days."""
    return frame.where(F.col("ds").isin(book.names_of(days)))


def write_tiles(spark: SparkSession, use_case: UseCase, days: Sequence[date], run_id: str) -> None:
    """Build the tiles of some days and rewrite those days of the table in one commit.

    Facts are laid out by day first: they are smaller than what is made of them, and stay where they are until written.
    """
    parts = partitions_of(len(days))
    facts = {
        c.name: facts_for(spark, use_case.name, c, days[0], days[-1]).repartition(parts, tile_day())
        for c in use_case.sources
    }
    tiles = of_named_days(build_tiles(facts, use_case.sources, use_case.tiles), days).withColumn(
        "run_id", F.lit(run_id)
    )
    clustered = tiles.repartition(parts, "ds").sortWithinPartitions("ds", "minute", "tile", "key")
    replace_days(clustered, use_case.name, TILES, days, run_id)
    log.info("tiles of %d days written (%s to %s)", len(days), days[0], days[-1])


def subjects_of(facts: DataFrame, use_case: UseCase, days: Sequence[date]) -> DataFrame:
    """The subjects of some days: raw subject facts with ``prediction_time``, ``ds`` being the day of that.

    Only those announced in time: on that day, or no more than the contract's ``announced_days`` before it.
    """
    announced_days = use_case.source(use_case.subject_source).announced_days
    timed = with_prediction_time(facts.withColumnRenamed("ds", ANNOUNCED), use_case)
    dated = of_named_days(timed.withColumn("ds", F.date_format("prediction_time", "yyyy-MM-dd")), days)
    earliest = F.date_sub("ds", announced_days).cast("string")
    return dated.where(F.col(ANNOUNCED).between(earliest, F.col("ds"))).drop(ANNOUNCED)


def read_references(client: Any, use_case: UseCase) -> dict[str, pa.Table]:
    """The reference tables as text columns, empty = null, from the landing bucket; raises ``ReferenceMissing``."""
    return {
        reference.name: read_reference(reference, reference_content(client, use_case.name, reference.name))
        for reference in use_case.features.references
    }


def ingest_lines(use_case: UseCase, days: Sequence[date]) -> list[dict[str, Any]]:
    """The ingest book's lines of some days."""
    columns = ["ds", "stage", "source", "landed", "ingested", "quarantined", "duplicate"]
    lines = lake.read_rows(use_case.name, BOOK.name, columns, book.names_of(days))
    return [line for line in lines if line["stage"] == book.INGEST]


def buckets_for(use_case: UseCase, lines: Sequence[Mapping[str, Any]]) -> int:
    """How many buckets hold the subjects in the ingest book's ``lines``: a worker has no more of them in a longer
    span."""
    return buckets_of(sum(int(line["ingested"]) for line in lines if line["source"] == use_case.subject_source))


def write_features(
    spark: SparkSession,
    use_case: UseCase,
    days: Sequence[date],
    references: Mapping[str, pa.Table],
    run_id: str,
    buckets: int,
) -> None:
    """Compute the features of the days' subjects and rewrite those days of the table in one commit."""
    contract = use_case.source(use_case.subject_source)
    facts = facts_for(spark, use_case.name, contract, days[0], days[-1])
    subjects = subjects_of(facts, use_case, days)
    history = timedelta(days=use_case.history_days)
    tiles = of_days(read_table(spark, use_case.name, TILES.name), days[0] - history, days[-1])
    rows = feature_rows(subjects, tiles, references, use_case, buckets)
    clustered = (
        rows.withColumn("run_id", F.lit(run_id))
        .repartition("ds")
        .sortWithinPartitions("ds", "prediction_time", "subject_id")
    )
    table = features_table(use_case)
    add_columns(spark, use_case.name, table)  # where nothing was ingested since a feature was declared nobody else has
    replace_days(clustered, use_case.name, table, days, run_id)
    log.info("features of %d days written", len(days))


def for_label_days(facts: DataFrame, contract: Contract, days: Sequence[date], horizon_days: int) -> DataFrame:
    """Facts once for each of ``days`` (``label_day``) that may see them: available until its horizon ends, no later."""
    shifts = range(-horizon_days, contract.announced_days + 1)
    seen_by = F.explode(F.array(*(F.date_add("ds", shift).cast("string") for shift in shifts)))
    return facts.withColumn("label_day", seen_by).where(F.col("label_day").isin(book.names_of(days)))


def label_rows(spark: SparkSession, use_case: UseCase, days: Sequence[date]) -> DataFrame:
    """The labels of some days, each from facts available until the end of its own horizon."""
    horizon = use_case.label_horizon_days
    last = days[-1] + timedelta(days=horizon)
    raw = {c.name: facts_for(spark, use_case.name, c, days[0], last) for c in use_case.sources}
    facts = {c.name: for_label_days(raw[c.name], c, days, horizon) for c in use_case.sources}
    subjects = subjects_of(raw[use_case.subject_source], use_case, days)
    facts[use_case.subject_source] = subjects.withColumn("label_day", F.col("ds"))
    return checked_labels(use_case.labels(facts), use_case.target).withColumnRenamed("label_day", "ds")


def checked_labels(rows: DataFrame, target: Target) -> DataFrame:
    """Labels as the table has them; whoever writes them fails, naming the subject, if one is none of the target's."""
    label = F.col("label")
    whole = label.try_cast("int")
    highest = F.lit(True) if target.highest is None else whole <= target.highest
    fault = F.format_string(
        f"label %s of subject %s is not {target.labels}: correct the use case's labels function",
        F.coalesce(label.cast("string"), F.lit("null")),
        "subject_id",
    )
    fits = (whole.cast("double") == label.try_cast("double")) & (whole >= 0) & highest
    return rows.withColumn("label", F.when(fits, whole).otherwise(F.raise_error(fault).cast("int")))


def write_labels(spark: SparkSession, use_case: UseCase, days: Sequence[date], run_id: str) -> None:
    """Close the labels of some days in one commit."""
    if not days:
        return
    clustered = (
        label_rows(spark, use_case, days)
        .withColumn("run_id", F.lit(run_id))
        .repartition("ds")
        .sortWithinPartitions("ds", "subject_id")
    )
    replace_days(clustered, use_case.name, LABELS, days, run_id)
    log.info("labels of %d days closed (%s to %s)", len(days), days[0], days[-1])


def day_counts(spark: SparkSession, use_case: UseCase, days: Sequence[date]) -> DataFrame:
    """One row per day: ``ds``, ``rows`` of features and ``tiles``, as the tables have them now (0 if none)."""
    named = spark.createDataFrame([(day.isoformat(),) for day in days], "ds string")
    features = read_table(spark, use_case.name, book.FEATURES).groupBy("ds").agg(F.count("*").alias("rows"))
    tiles = read_table(spark, use_case.name, TILES.name).groupBy("ds").agg(F.count("*").alias("tiles"))
    joined = named.join(of_named_days(features, days), "ds", "left").join(of_named_days(tiles, days), "ds", "left")
    return joined.fillna(0, ["rows", "tiles"])


def announcements(counts: DataFrame, use_case: str, run_id: str, now: datetime) -> DataFrame:
    """Kafka messages (key ``ds``, value JSON) that say which days' features are ready."""
    message = F.struct(
        F.lit("features_ready").alias("event"),
        F.lit(use_case).alias("use_case"),
        "ds",
        F.lit(run_id).alias("run_id"),
        "rows",
        "tiles",
        F.lit(rfc3339(now)).alias("time"),
    )
    return counts.select(F.col("ds").alias("key"), F.to_json(message).alias("value"))


def rfc3339(moment: datetime) -> str:
    """A time as the project's messages carry it: UTC, seconds, ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def book_shares(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, float]]:
    """(ds, source, dimension, value) from ingest-book lines: ``validity`` and ``uniqueness`` of what landed."""
    shares = []
    for row in rows:
        judged = row["ingested"] + row["quarantined"]
        shares.append((row["ds"], row["source"], "validity", row["ingested"] / judged if judged else 1.0))
        unique = 1.0 - row["duplicate"] / row["landed"] if row["landed"] else 1.0
        shares.append((row["ds"], row["source"], "uniqueness", unique))
    return shares


def quality_messages(
    spark: SparkSession, use_case: UseCase, shares: Iterable[Share], run_id: str, now: datetime
) -> DataFrame:
    """Kafka messages (key metric id, value JSON) of kind ``data_quality``, one for each figure."""
    rows = [(data_quality_id(use_case.name, ds, source, dim, v), ds, source, dim, v) for ds, source, dim, v in shares]
    frame = spark.createDataFrame(rows, "metric_id string, ds string, source string, dimension string, value double")
    constants = {"kind": "data_quality", "use_case": use_case.name, "run_id": run_id, "time": rfc3339(now)}
    literals = [F.lit(value).alias(name) for name, value in constants.items()]
    message = F.struct("metric_id", "ds", "source", "dimension", "value", *literals)
    return frame.select(F.col("metric_id").alias("key"), F.to_json(message).alias("value"))


def send(messages: DataFrame, topic: str, kafka: KafkaSettings) -> None:
    """Write messages to a topic from the Spark workers."""
    options = {**kafka.spark_options(), "topic": topic, "kafka.acks": "all"}
    messages.write.format("kafka").options(**options).save()


def preprocess(spark: SparkSession, use_case: UseCase, days: Sequence[date], run_id: str) -> None:
    """Write tiles, features and labels of some days, then announce each day and its data quality."""
    refuse_open_days(use_case, days, book.closed_days(use_case, book.INGEST))
    shuffle_by_span(spark, len(days))
    references, lines = read_references(s3_client(), use_case), ingest_lines(use_case, days)
    closing = [date.fromisoformat(ds) for ds in book.closed_label_days(use_case, days)]
    buckets = buckets_for(use_case, lines)
    # A small day's time goes into planning, which one core does. What needs facts alone begins with the tiles; features
    # and labels both need those, and not each other.
    with ThreadPoolExecutor(3) as pool:
        shares = pool.submit(assess, spark, use_case, days, lines)
        write_tiles(spark, use_case, tile_days(use_case, days, days_tiled(use_case)), run_id)
        features = pool.submit(write_features, spark, use_case, days, references, run_id, buckets)
        labels = pool.submit(write_labels, spark, use_case, closing, run_id)
        features.result()
        labels.result()
        quality = [*book_shares(lines), *shares.result()]
    kafka, topics, now = KafkaSettings.from_environment(), Topics(use_case.name), datetime.now(UTC)
    send(quality_messages(spark, use_case, quality, run_id, now), topics.metrics, kafka)
    counts = day_counts(spark, use_case, days).persist()
    send(announcements(counts, use_case.name, run_id, now), topics.batch_events, kafka)
    for row in counts.orderBy("ds").collect():
        log.info("%s: %d feature rows, %d tiles, announced", row["ds"], row["rows"], row["tiles"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    args = job_arguments(argv, __doc__)
    use_case = load_use_case(args.use_case)
    days = days_between(args.first, args.last)
    spark = start_job(f"preprocess_features {args.use_case} {args.first} {args.last}")
    preprocess(spark, use_case, days, args.run_id)
    spark.stop()


if __name__ == "__main__":
    main()
