"""Source topics -> open tiles: Spark judges each message by its contract, the fold counts each fact once, Spark builds
the tiles of every minute that has changed.

One micro-batch: judge (column expressions on the workers), fold (``include.streaming.counting``, in the driver: what
it has to remember is a few days of ids), build the changed tiles with the expression that batch uses, publish, journal.
Publishing comes before the journal and Spark's own commit, and values are whole tiles: a batch that is run again
publishes the same. It does not know who reads the tiles.
"""

import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from include.broadcast import Broadcaster, BroadcastError, encode, rfc3339
from include.contracts.columns import typed, with_times
from include.contracts.contract import Contract, Field
from include.contracts.json_columns import MESSAGE, judged_messages, text_field
from include.locations import Topics
from include.settings import KafkaSettings
from include.streaming import messages
from include.streaming.counting import Arrival, Counted, Judged, State, count
from include.streaming.journal import Journal, changes_of
from include.streaming.messages import HEARTBEAT_FIELD, MINUTE_SECONDS, TileUpdate, minute_text
from include.tables import SPARK_TYPES
from include.tiles.build import TileExpressions, tile_expressions, tile_rows, tiles_of
from include.tiles.spec import Tile
from include.use_case import UseCase

log = logging.getLogger("count_facts")

METRICS_SECONDS = 5.0
FETCH_WAIT_MS = 10
INSTANCE = "stream"
HEARTBEAT = Field(HEARTBEAT_FIELD, "timestamp", "Every fact of this source available before this time has been sent")
NAMESPACE = uuid.UUID("0d5c4d5e-8b4f-4b8e-9d51-2f1f6f9b7a10")


def kafka_stream(spark: SparkSession, kafka: KafkaSettings, topic: str, most: int | None = None) -> DataFrame:
    """A topic from its beginning (or the checkpoint), at most ``most`` messages a batch; ``value`` as text."""
    reader = spark.readStream.format("kafka").options(**kafka.spark_options())
    reader = reader.option("subscribe", topic).option("startingOffsets", "earliest")
    # A fetch that waits at the end of a topic keeps the next batch waiting, half a second by default.
    reader = reader.option("kafka.fetch.max.wait.ms", FETCH_WAIT_MS)
    if most is not None:
        reader = reader.option("maxOffsetsPerTrigger", most)
    return reader.load().select(F.col("value").cast("string").alias("value"), "partition", "offset")


def arrivals_of(rows: DataFrame, contract: Contract) -> DataFrame:
    """Messages of one source's topic (``value``, ``partition``, ``offset``) as the columns of an ``Arrival``."""
    judged = judged_messages(rows, contract)
    return judged.select(
        F.lit(contract.name).alias("source"),
        "partition",
        "offset",
        F.coalesce(MESSAGE, F.lit("")).alias("record"),
        F.col(contract.key).alias("id"),
        _minute(F.col("available_at")).alias("available"),
        _minute(F.col("moment")).alias("minute"),
        F.to_json(F.struct(*contract.field_names)).alias("fact"),
        "reasons",
        _minute(typed(HEARTBEAT, text_field(HEARTBEAT_FIELD, MESSAGE))).alias("heartbeat"),
    )


def _minute(time: Column) -> Column:
    """Whole minutes since 1970, floored."""
    return F.floor(F.unix_seconds(time) / MINUTE_SECONDS).cast("bigint")


def arrival(row: Row) -> Arrival:
    """One collected row as the fold takes it. A heartbeat satisfies no contract, and needs none."""
    if row["heartbeat"] is not None:
        return Arrival(row["source"], "", heartbeat=row["heartbeat"])
    if row["reasons"]:
        return Arrival(row["source"], row["record"], row["id"], reasons=tuple(row["reasons"]))
    return Arrival(row["source"], "", row["id"], row["available"], row["minute"], row["fact"])


def arrivals_in_order(rows: Iterable[Row]) -> list[Arrival]:
    """A micro-batch's arrivals: each source's messages in the order of its topic."""
    return [arrival(row) for row in sorted(rows, key=lambda row: (row["source"], row["partition"], row["offset"]))]


@dataclass(frozen=True)
class TileBuilder:
    """What it takes to make tiles of one source's facts, built once."""

    fact: str
    typed: tuple[Column, ...]
    expressions: TileExpressions

    @classmethod
    def of(cls, contract: Contract, tiles: Sequence[Tile]) -> "TileBuilder":
        """For all kinds of tile over the contract's source."""
        fields = ", ".join(f"`{field.name}`: {SPARK_TYPES[field.type]}" for field in contract.fields)
        names = [F.col(f"fact.{name}") for name in contract.field_names]
        return cls(f"array<struct<{fields}>>", tuple(names), tile_expressions(contract, tiles_of(tiles, contract.name)))

    def rows(self, spark: SparkSession, facts: Sequence[str], contract: Contract) -> DataFrame:
        """The tiles of facts given as JSON, as the fold remembers them.

        They enter the plan as one literal: for some dozen facts that costs a tenth of a distributed collection.
        """
        array = F.from_json(F.lit(f"[{','.join(facts)}]"), self.fact)
        typed_facts = spark.sql("SELECT 1").coalesce(1).select(F.explode(array).alias("fact")).select(*self.typed)
        return tile_rows(with_times(typed_facts, contract), self.expressions)


def changed_tiles(
    spark: SparkSession,
    use_case: UseCase,
    builders: Mapping[str, TileBuilder],
    touched: Mapping[str, Mapping[int, Sequence[str]]],
) -> list[TileUpdate]:
    """Every tile of the minutes in ``touched`` (by source, all facts of each minute), as it is now."""
    frames = [
        builders[source].rows(spark, [fact for facts in minutes.values() for fact in facts], use_case.source(source))
        for source, minutes in touched.items()
        if source in builders
    ]
    if not frames:
        return []
    tiles = reduce(DataFrame.union, frames)
    rows = tiles.select("tile", "key", _minute(F.col("minute")).alias("minute"), "values").collect()
    return [TileUpdate(row["tile"], row["key"], minute_text(row["minute"]), list(row["values"])) for row in rows]


def rejections(counted: Counted, now: str) -> Iterator[messages.Rejection]:
    """What is told of the arrivals that were not counted and are no repeats."""
    for judged in counted.judged:
        if judged.outcome in ("rejected", "late"):
            item = judged.arrival
            kind = _kind(judged)
            record = item.record or item.fact
            yield messages.rejection(item.id, item.source, kind, judged.reasons, record, now)


def _kind(judged: Judged) -> str:
    if judged.outcome == "late":
        return messages.LATE
    return messages.CONFLICTING if judged.conflicting else messages.INVALID


class FactCounter:
    """The work of one micro-batch, and the state between them. ``on_batch`` goes to ``foreachBatch``."""

    def __init__(self, use_case: UseCase, kafka: KafkaSettings, journal: Journal) -> None:
        self._use_case = use_case
        self._topics = Topics(use_case.name)
        self._sender = Broadcaster(kafka)
        self._metrics_sender = Broadcaster(kafka)
        self._journal = journal
        tiled = {tile.source for tile in use_case.tiles}
        self._builders = {c.name: TileBuilder.of(c, use_case.tiles) for c in use_case.sources if c.name in tiled}
        self._state: State = {}
        self._next_batch: int | None = None
        self._told: dict[str, messages.Progress] = {}
        self._published: dict[str, float] = {}

    def on_batch(self, batch: DataFrame, number: int) -> None:
        """Count one micro-batch; raises ``JournalGap``, ``BroadcastError``."""
        if number != self._next_batch:
            self._state = self._journal.restore(number)
        self._next_batch = None  # until this batch is through, nothing is known of the state
        arrivals = arrivals_in_order(batch.collect())
        counted = count(self._state, arrivals)
        self._sender.send(self._messages(batch.sparkSession, counted))
        self._journal.write(number, changes_of(arrivals, counted), self._state)
        self._next_batch = number + 1

    def _messages(self, spark: SparkSession, counted: Counted) -> Iterator[tuple[str, str, bytes]]:
        """Tiles, then the progress that covers them, then rejections."""
        for tile in changed_tiles(spark, self._use_case, self._builders, counted.touched):
            yield self._topics.tiles, tile.message_key, messages.encode(tile)
        for source, state in self._state.items():
            progress = state.progress(source)
            if progress is not None and self._told.get(source) != progress:
                self._told[source] = progress
                yield self._topics.tiles, progress.message_key, messages.encode(progress)
        for rejected in rejections(counted, rfc3339(datetime.now(UTC))):
            yield self._topics.rejected, rejected.id or "", messages.encode(rejected)

    def publish_metrics(self) -> None:
        """Send each count that has changed as a ``runtime`` metric: totals since the stream's very beginning."""
        now = datetime.now(UTC)
        totals = dict(self._totals())
        changed = {name: value for name, value in totals.items() if self._published.get(name) != value}
        self._metrics_sender.send(
            (self._topics.metrics, name, encode(runtime_metric(self._use_case.name, name, value, now)))
            for name, value in changed.items()
        )
        self._published |= changed

    def _totals(self) -> Iterator[tuple[str, float]]:
        for source, state in list(self._state.items()):
            for outcome, value in state.counts.items():
                yield f'stream_facts_total{{outcome="{outcome}",source="{source}"}}', float(value)

    def keep_publishing(self, stop: threading.Event) -> None:
        """Publish the counts until stopped; a broker that is away is tried again."""
        while not stop.wait(METRICS_SECONDS):
            try:
                self.publish_metrics()
            except BroadcastError as error:
                log.warning("the counts could not be sent, trying again: %s", error)


def runtime_metric(use_case: str, name: str, value: float, now: datetime) -> dict[str, Any]:
    """One message of kind ``runtime``; the same count at the same time is the same metric."""
    time = rfc3339(now)
    return {
        "metric_id": str(uuid.uuid5(NAMESPACE, json.dumps([use_case, INSTANCE, name, value, time]))),
        "kind": "runtime",
        "use_case": use_case,
        "ds": time[:10],
        "time": time,
        "run_id": "",
        "instance": INSTANCE,
        "name": name,
        "value": value,
    }


def arrivals_stream(spark: SparkSession, use_case: UseCase, kafka: KafkaSettings, most: int) -> DataFrame:
    """All source topics as one stream of arrivals, at most ``most`` messages of each a batch."""
    topics = Topics(use_case.name)
    frames = [arrivals_of(kafka_stream(spark, kafka, topics.facts(c.name), most), c) for c in use_case.sources]
    return reduce(DataFrame.unionByName, frames)
