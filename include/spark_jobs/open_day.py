"""The open days as the speed layer has them: facts on the source topics, answers not yet in the predictions table.

A day is open while its ingest book is not closed. Its facts are those on Kafka (judged by the same contract) and those
that the batch layer has of it already, each once by its id. It reads and never writes; what is made of the facts is the
affair of ``refresh_serving``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from include.contracts.contract import Contract
from include.contracts.json_columns import judged_messages, text_field
from include.locations import Topics
from include.predictions.positions import Unread, extents
from include.settings import KafkaSettings
from include.spark_jobs.catalog import counting_facts
from include.streaming.messages import HEARTBEAT_FIELD
from include.use_case import UseCase

log = logging.getLogger(__name__)

#: A column of facts while they are numbered: a name that no field can have.
TURN = "its turn"

#: Where to begin reading a source's topic: partition -> offset. Partitions that are not named begin at the start.
Positions = Mapping[int, int]
#: So many ids are sent whole to where raw is read. More, where batch is far behind, could crowd out what tasks sort.
MOST_SENT = 250_000


@dataclass(frozen=True)
class OpenSource:
    """One source's open days.

    ``facts``: the contract's fields, ``available_at``, ``moment`` and ``ds``, once per id, available after the last
    closed day. ``positions``: per partition of the topic the first offset that a later refresh needs. ``seen``: up to
    here the source says it is complete (its heartbeats, else its newest fact); None if the topic has nothing.
    """

    facts: DataFrame
    positions: dict[int, int]
    seen: datetime | None


def read_topic(spark: SparkSession, kafka: KafkaSettings, topic: str, parts: Sequence[Unread]) -> DataFrame | None:
    """Some offsets of a topic: ``value`` (text), ``partition``, ``offset``; None if there is nothing to read."""
    if not parts:
        return None
    options = {
        **kafka.spark_options(),
        "assign": json.dumps({topic: [part.partition for part in parts]}),
        "startingOffsets": json.dumps({topic: {str(part.partition): part.start for part in parts}}),
        "endingOffsets": json.dumps({topic: {str(part.partition): part.end for part in parts}}),
    }
    messages = spark.read.format("kafka").options(**options).load()
    return messages.select(F.col("value").cast("string").alias("value"), "partition", "offset")


def to_read(ends: Mapping[int, tuple[int, int]], positions: Positions) -> list[Unread]:
    """What to read of a topic: from the positions, or from its start where they do not fit the topic (made anew)."""
    parts = []
    for number, (first, end) in ends.items():
        position = positions.get(number, first)
        start = position if first <= position <= end else first
        if start < end:
            parts.append(Unread(number, start, end))
    return parts


def good_facts(messages: DataFrame, contract: Contract) -> DataFrame:
    """The messages that satisfy the contract: its fields, both times, ``ds``, ``partition`` and ``offset``."""
    judged = judged_messages(messages, contract).where(F.size("reasons") == 0)
    return judged.select(
        *contract.field_names,
        "available_at",
        "moment",
        F.date_format("available_at", "yyyy-MM-dd").alias("ds"),
        "partition",
        "offset",
    )


def once(facts: DataFrame, contract: Contract) -> DataFrame:
    """The first fact of each id, as everywhere: what batch has (``partition`` -1) before what the topic has."""
    first = Window.partitionBy(contract.key).orderBy("partition", "offset")
    numbered = facts.withColumn(TURN, F.row_number().over(first))
    return numbered.where(F.col(TURN) == 1).drop(TURN, "partition", "offset")


def open_source(
    spark: SparkSession, use_case: UseCase, contract: Contract, kafka: KafkaSettings, last: str, positions: Positions
) -> OpenSource:
    """A source's facts that became available after the day ``last``, from its topic and from the raw table."""
    topic = Topics(use_case.name).facts(contract.name)
    ends = extents(kafka, topic)
    parts = to_read(ends, positions)
    messages = read_topic(spark, kafka, topic, parts)
    raw = counting_facts(spark, use_case.name, contract.name)
    times = ("available_at", "moment", "ds")
    in_lake = raw.where(F.col("ds") > last).select(
        *contract.field_names, *times, F.lit(-1).alias("partition"), F.lit(0).cast("bigint").alias("offset")
    )
    after = {number: end for number, (_, end) in ends.items()}
    if messages is None:
        return OpenSource(once(in_lake, contract), after, None)
    facts = good_facts(messages, contract).where(F.col("ds") > last).persist()
    # A fact of an earlier day that was ingested meanwhile is closed; one that batch knows by its id is not new.
    known = known_ids(raw.where(F.col("ds") <= last), facts, contract.key)
    new = facts.join(known, contract.key, "left_anti").select(in_lake.columns).persist()
    parted = new.groupBy("partition").agg(F.min("offset").alias("first"), F.max("available_at").alias("newest"))
    found = parted.collect()
    first_open = {row["partition"]: row["first"] for row in found}
    seen = heartbeat(messages) or max((row["newest"].astimezone(UTC) for row in found), default=None)
    return OpenSource(once(in_lake.unionByName(new), contract), after | first_open, seen)


def known_ids(raw: DataFrame, facts: DataFrame, key: str) -> DataFrame:
    """The ids of ``facts`` that ``raw`` has.

    Joined to ``facts`` as it is, ``raw`` is the side to be looked up, and every refresh would shuffle the ids of the
    whole archive. Delta skips those of its files whose ids all lie outside the facts' span.
    """
    found = facts.agg(F.min(key).alias("low"), F.max(key).alias("high"), F.count(key).alias("ids")).first()
    if found is None or found["low"] is None:
        return raw.where("false").select(key)
    between = raw.where(F.col(key).between(found["low"], found["high"])).select(key)
    if found["ids"] > MOST_SENT:
        return between.join(facts.select(key), key, "left_semi")
    return F.broadcast(between.join(F.broadcast(facts.select(key)), key, "left_semi"))


def heartbeat(messages: DataFrame) -> datetime | None:
    """Up to when a source says that its topic is complete, by its newest heartbeat."""
    row = messages.agg(F.max(F.try_to_timestamp(text_field(HEARTBEAT_FIELD))).alias("seen")).first()
    moment: datetime | None = row["seen"] if row else None
    return moment and moment.astimezone(UTC)


def unlogged_predictions(
    spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, parts: Sequence[Unread], logged: DataFrame
) -> DataFrame | None:
    """Answers on the predictions topic that the table ``logged`` lacks, with the columns that MySQL shows.

    ``parts`` must have been looked up before ``logged`` was: what is logged in between is then in both and left out
    here, and nothing is in neither.
    """
    messages = read_topic(spark, kafka, Topics(use_case.name).predictions, parts)
    if messages is None:
        return None
    answer = use_case.target.answer
    highest = use_case.target.highest
    fields = (
        f"id string, model_id string, {answer} double, prediction_time timestamp, predicted_at timestamp, "
        "degraded boolean, as_of map<string,timestamp>"
    )
    possible = f"{answer} >= 0" if highest is None else f"{answer} BETWEEN 0 AND {highest}"
    answers = messages.select(F.from_json("value", fields).alias("answer"), "partition", "offset")
    # What was logged earlier lies in files that Delta skips by their offsets.
    read = " OR ".join(f"(kafka_partition = {part.partition} AND kafka_offset >= {part.start})" for part in parts)
    there = logged.where(read).select(
        F.col("kafka_partition").alias("partition"), F.col("kafka_offset").alias("offset")
    )
    return (
        answers.join(there, ["partition", "offset"], "left_anti")
        .select("answer.*")
        .where(f"id IS NOT NULL AND {possible} AND prediction_time IS NOT NULL")
        .withColumn("ds", F.date_format("prediction_time", "yyyy-MM-dd"))
    )
