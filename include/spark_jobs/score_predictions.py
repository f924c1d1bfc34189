"""Score: the predictions topic -> table; where labels have closed, live quality; where tiles are published, parity.

``score_predictions.py --use-case NAME --run-id ID``

Chooses its days itself (``include.predictions.due``). A repeat changes nothing: rows and position on the topic are one
commit, and a metric measured again with the same result is the same metric. What is compared for parity, and when late
facts explain a difference, is said in ``recompute``.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from include import lake
from include.book import Entry
from include.broadcast import broadcast, rfc3339
from include.features.spec import Feature
from include.locations import Lake, Topics
from include.predictions import parity
from include.predictions.due import PARITY, QUALITY, SCORING, due_now, label_span
from include.predictions.live_quality import day_figures, figures_ddl, quality_messages
from include.predictions.message import prediction_row
from include.predictions.parity import DayParity
from include.predictions.positions import Unread, application, unread_now
from include.settings import KafkaSettings
from include.spark_jobs.catalog import create_tables, of_days, read_table
from include.spark_jobs.preprocess_features import of_named_days
from include.spark_jobs.recompute import Comparison
from include.spark_jobs.session import run_arguments, start_job
from include.tables import BOOK, LABELS, Table, predictions_table
from include.target import Target
from include.use_case import UseCase, load_use_case

log = logging.getLogger("score_predictions")

#: A backlog is written in commits of at most this many messages.
MESSAGES_PER_COMMIT = 500_000
#: A backlog of days is measured, and noted in the book, so many at a time: what a worker or the driver holds of it
#: does not grow with it, and a run that dies goes on where it was.
DAYS_TOGETHER = 31
PROBLEMS_SHOWN = 20
HOUR_TEXT = "yyyy-MM-dd'T'HH:mm:ss'Z'"


def parse_batches(
    batches: Iterable[pa.RecordBatch], features: Sequence[Feature], target: Target, run_id: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """On a Spark worker: messages (``partition, offset, value``) -> rows of the table, or a ``problem``."""
    for batch in batches:
        messages = zip(*(batch.column(name).to_pylist() for name in ("partition", "offset", "value")), strict=True)
        rows = [_parsed(number, offset, value, features, target, run_id) for number, offset, value in messages]
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _parsed(
    number: int, offset: int, value: bytes, features: Sequence[Feature], target: Target, run_id: str
) -> dict[str, Any]:
    place = {"kafka_partition": number, "kafka_offset": offset, "run_id": run_id}
    try:
        return prediction_row(value, features, target) | place
    except ValueError as error:
        return place | {"problem": str(error)}


def read_messages(spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, part: Unread, run_id: str) -> DataFrame:
    """The messages of some offsets as rows of the table, with ``problem`` where one is no prediction."""
    topic, table = Topics(use_case.name).predictions, predictions_table(use_case)
    options = {
        **kafka.spark_options(),
        "assign": json.dumps({topic: [part.partition]}),
        "startingOffsets": json.dumps({topic: {str(part.partition): part.start}}),
        "endingOffsets": json.dumps({topic: {str(part.partition): part.end}}),
    }
    messages = spark.read.format("kafka").options(**options).load().select("partition", "offset", "value")
    parse = partial(
        parse_batches,
        features=use_case.features.features,
        target=use_case.target,
        run_id=run_id,
        schema=lake.arrow_schema(table).append(pa.field("problem", pa.string())),
    )
    columns = ", ".join(f"`{column.name}` {column.type}" for column in table.columns)
    return messages.mapInArrow(parse, f"{columns}, problem string")


def append(rows: DataFrame, use_case: str, table: Table, part: Unread, run_id: str) -> None:
    """Append rows and move the position behind ``part``, in one commit; a repeat is ignored by Delta itself."""
    (
        rows.select(*(column.name for column in table.columns))
        .repartition("ds")
        .sortWithinPartitions("ds", "prediction_time", "id")
        .write.format("delta")
        .mode("append")
        .option("mergeSchema", "true")
        .option("txnAppId", application(Topics(use_case).predictions, part.partition))
        .option("txnVersion", part.end)
        .option("userMetadata", run_id)
        .save(Lake(use_case).path(table.name))
    )


def write_messages(spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, run_id: str) -> int:
    """Write to the table what it lacks of the topic; returns how many messages were no predictions."""
    problems = 0
    for unread in unread_now(use_case.name, kafka):
        for part in unread.parts(MESSAGES_PER_COMMIT):
            rows = read_messages(spark, use_case, kafka, part, run_id).persist()
            append(rows.where("problem IS NULL"), use_case.name, predictions_table(use_case), part, run_id)
            problems += report_problems(rows.where("problem IS NOT NULL"))
            log.info("partition %d: offsets %d to %d written", part.partition, part.start, part.end - 1)
            rows.unpersist()
    return problems


def report_problems(problems: DataFrame) -> int:
    """Say which messages are no predictions and why; returns how many."""
    count = problems.count()
    shown = problems.select("kafka_partition", "kafka_offset", "problem").orderBy("kafka_partition", "kafka_offset")
    for row in shown.limit(PROBLEMS_SHOWN).collect() if count else ():
        log.warning("message at partition %d offset %d is no prediction: %s", *row)
    if count:
        log.warning("%d messages are no predictions; their producer breaks docs/schemas", count)
    return count


def answers_of(spark: SparkSession, use_case: UseCase, days: Sequence[date]) -> DataFrame:
    """The predictions of some days with ``label`` (null: not known), ``hour``, and whether one is a ``repeat``.

    The same model asked about the same subject at the same prediction time counts once, however often it was asked.
    """
    same = Window.partitionBy("model_id", "id", "prediction_time").orderBy("kafka_partition", "kafka_offset")
    logged = of_named_days(read_table(spark, use_case.name, predictions_table(use_case).name), days)
    spans = [label_span(use_case, day) for day in days]
    labels = of_days(
        read_table(spark, use_case.name, LABELS.name), min(first for first, _ in spans), max(last for _, last in spans)
    ).select(F.col("subject_id").alias("id"), "label")
    return (
        logged.withColumn("repeat", F.row_number().over(same) > 1)
        .withColumn("hour", F.date_trunc("HOUR", "prediction_time"))
        .join(labels, "id", "left")
        .select("ds", "model_id", "hour", "label", F.col(use_case.target.answer).alias("answer"), "repeat")
    )


def measure_quality(
    spark: SparkSession, use_case: UseCase, days: Sequence[date], kafka: KafkaSettings, run_id: str, now: datetime
) -> None:
    """Send the live quality of some days, then note in the book what it was measured on."""
    answers = answers_of(spark, use_case, days).persist()
    labelled = answers.where("NOT repeat AND label IS NOT NULL")
    target = use_case.target

    def measured(answers: pa.Table) -> pa.Table:  # Spark reads its annotations, which a partial function lacks
        return day_figures(answers, target)

    found = labelled.groupBy("ds").applyInArrow(measured, figures_ddl(target))
    rows = [row.asDict() for row in found.withColumn("hour", F.date_format("hour", HOUR_TEXT)).collect()]
    messages = quality_messages(use_case.name, target, run_id, rfc3339(now), rows)
    broadcast(kafka, Topics(use_case.name).metrics, messages)
    counts = answers.groupBy("ds").agg(
        F.count("*").alias("logged"),
        F.count_if(F.col("repeat")).alias("repeats"),
        F.count_if(~F.col("repeat") & F.col("label").isNotNull()).alias("labelled"),
    )
    entries = [quality_entry(row["ds"], row["logged"], row["labelled"], row["repeats"]) for row in counts.collect()]
    answers.unpersist()
    note(use_case.name, entries, run_id, now)
    log.info("live quality of %d days: %d figures sent", len(days), len(messages))


def quality_entry(ds: str, logged: int, labelled: int, repeats: int) -> Entry:
    """The book's line about a day's live quality."""
    unknown = logged - labelled - repeats
    detail = f"{unknown} predictions without a known outcome" if unknown else ""
    return Entry(ds, SCORING, QUALITY, logged, labelled, duplicate=repeats, detail=detail, may_lack=True)


def parity_entry(day: DayParity) -> Entry:
    """The book's line about a day's parity; what could not be compared counts as put aside."""
    return Entry(day.ds, SCORING, PARITY, day.logged, day.compared, day.logged - day.compared, detail=day.detail)


def note(use_case: str, entries: Sequence[Entry], run_id: str, now: datetime) -> None:
    """Write lines into the book as of ``now``, the moment before their days were read."""
    lake.merge_rows(use_case, BOOK, [entry.row(run_id, now) for entry in entries], update="all")
    for entry in entries:
        log.info("%s%s", entry.numbers(), f" ({entry.detail})" if entry.detail else "")


def measure_parity(
    spark: SparkSession, use_case: UseCase, days: Sequence[date], kafka: KafkaSettings, run_id: str, now: datetime
) -> list[DayParity]:
    """Send parity and freshness of some days, say the same in the log, and note the days in the book."""
    comparison = Comparison(spark, use_case, days)
    found, fresh = comparison.parity_by_day(kafka), comparison.freshness()
    comparison.close()
    seen = [row for row in fresh if row["seconds"] is not None]
    messages = parity.parity_messages(use_case.name, run_id, rfc3339(now), found)
    messages += parity.freshness_messages(use_case.name, run_id, rfc3339(now), seen)
    broadcast(kafka, Topics(use_case.name).metrics, messages)
    for day in found:
        log.log(logging.WARNING if day.different else logging.INFO, "parity %s", day.words())
    for row in fresh:
        log.info("freshness %s", freshness_words(row))
    note(use_case.name, [parity_entry(day) for day in found], run_id, now)
    return found


def freshness_words(row: Mapping[str, Any]) -> str:
    """One source's day for the log."""
    blind = f"; {row['blind']} predictions saw nothing of it" if row["blind"] else ""
    if row["seconds"] is None:
        return f"{row['ds']} {row['source']}: never seen{blind}"
    half, most, worst = row["seconds"]
    return (
        f"{row['ds']} {row['source']}: {half:.0f} s behind at the median, 95 % {most:.0f} s, most {worst:.0f} s{blind}"
    )


def score(spark: SparkSession, use_case: UseCase, run_id: str) -> int:
    """Log the new messages, then measure every day that is due; returns how many messages were no predictions."""
    kafka = KafkaSettings.from_environment()
    create_tables(spark, use_case)
    problems = write_messages(spark, use_case, kafka, run_id)
    now = datetime.now(UTC)
    due = due_now(use_case)
    for days in together(due.quality):
        measure_quality(spark, use_case, days, kafka, run_id, now)
    for days in together(due.parity):
        measure_parity(spark, use_case, days, kafka, run_id, now)
    return problems


def together(days: Sequence[date]) -> Iterator[Sequence[date]]:
    """The days in order, at most ``DAYS_TOGETHER`` at a time."""
    for start in range(0, len(days), DAYS_TOGETHER):
        yield days[start : start + DAYS_TOGETHER]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    args = run_arguments(argv, __doc__)
    use_case = load_use_case(args.use_case)
    spark = start_job(f"score_predictions {args.use_case}")
    score(spark, use_case, args.run_id)
    spark.stop()


if __name__ == "__main__":
    main()
