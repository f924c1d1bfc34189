"""Logged predictions against what the batch layer makes of them: the windows cut at each prediction's own ``as_of``.

Each is made again with the reference tables of the model that answered: it keeps them while newer ones land.
Comparable is what was made by the running code's definition of the features, about a subject that is a fact of the
batch layer. A row that differs is *explained by late facts* when the tiles without them give exactly what was served:
without all that the stream has recorded as late on some day or later. (Of earlier days the predictor had the batch
tiles, late facts included; where its batch days ended is not logged, so each possible day is tried.) It is
*superseded* when facts were withdrawn or restored after it was given, and those that counted then give what was served.
It reads tables and topics; it writes nothing.
"""

import gzip
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property, partial, reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include.book import names_of
from include.bundle.bundle import BundleCorrupt, read_files, references_in
from include.bundle.store import ObjectMissing, ObjectStore, S3Store
from include.contracts.contract import Contract
from include.features.assemble import buckets_of, feature_rows
from include.features.columns import parse_reference
from include.features.spec import Feature
from include.landing import reference_content, s3_client
from include.locations import MODELS_BUCKET, Topics
from include.predictions.parity import AGAIN, IDS_SHOWN, QUANTILES, DayParity, differences
from include.predictions.positions import extents
from include.settings import KafkaSettings, S3Settings
from include.spark_jobs.catalog import facts_for, of_days, read_table
from include.spark_jobs.preprocess_features import of_named_days
from include.streaming.messages import LATE, PROBLEM_TYPE
from include.tables import TILES, predictions_table
from include.tiles.build import TILE_COLUMNS, build_tiles
from include.tombstones import Period, periods, read_events
from include.use_case import UseCase

log = logging.getLogger(__name__)

#: What is known of each comparable prediction: ``place`` (partition and offset) identifies it.
COMPARED = "place string, id string, ds string, degraded boolean, names array<string>"


class Comparison:
    """The logged predictions of some days, and the same recomputed."""

    def __init__(self, spark: SparkSession, use_case: UseCase, days: Sequence[date]) -> None:
        self.spark, self.use_case, self.days = spark, use_case, sorted(days)
        self.first_tiles = self.days[0] - timedelta(days=use_case.history_days)
        table = of_named_days(read_table(spark, use_case.name, predictions_table(use_case).name), days)
        self.logged = table.withColumn("place", F.concat_ws(":", "kafka_partition", "kafka_offset")).persist()
        self.comparable = self.logged.where(F.col("features_hash") == use_case.features.hash())

    def close(self) -> None:
        """Give back what is kept in memory."""
        self.logged.unpersist()

    @cached_property
    def buckets(self) -> int:
        """In how many buckets the comparable predictions meet their tiles."""
        return buckets_of(self.comparable.count())

    @cached_property
    def answered_with(self) -> list[tuple[list[str], dict[str, pa.Table]]]:
        """The models that answered, together with those that had the same reference tables, and these."""
        models = [row["model_id"] for row in self.comparable.select("model_id").distinct().collect()]
        store, landed = S3Store(S3Settings.from_environment(), MODELS_BUCKET), landed_references(self.use_case)
        found = {model: bundled_references(store, self.use_case.name, model) or landed for model in models}
        groups = by_references(found) or [([], landed)]
        return [(models, tables_of(self.use_case, contents)) for models, contents in groups]

    def facts(self, contract: Contract, first: date, last: date, withdrawn: Collection[str] | None = None) -> DataFrame:
        """A source's raw facts of a span of days, but for those of ``withdrawn`` files (default: as of now)."""
        return facts_for(self.spark, self.use_case.name, contract, first, last, withdrawn)

    def tiles(self) -> DataFrame:
        """The published tiles that the days' windows reach into."""
        tiles = read_table(self.spark, self.use_case.name, TILES.name)
        return of_days(tiles, self.first_tiles, self.days[-1]).select(*TILE_COLUMNS)

    def subjects(self, predictions: DataFrame) -> DataFrame:
        """The subjects of predictions as the batch layer knows them, with the predictions' times.

        A subject may have been asked about more than once: in the place of its id stands the prediction's.
        """
        contract, subject = self.use_case.source(self.use_case.subject_source), self.use_case.subject
        facts = self.facts(contract, self.days[0], self.days[-1] + timedelta(days=contract.announced_days))
        fields = [name for name in subject.field_names if name not in (subject.key, "prediction_time")]
        known = facts.select(F.col(contract.key).alias("asked_about"), *fields)
        asked = predictions.select(
            F.col("id").alias("asked_about"), F.col("place").alias(subject.key), "prediction_time", "as_of"
        )
        return asked.join(known, "asked_about")

    def against(self, predictions: DataFrame, tiles: DataFrame) -> DataFrame:
        """``COMPARED`` for each prediction whose subject is known: ``names`` are the features that differ."""
        groups = self.answered_with
        frames = [
            self._against(
                predictions.where(F.col("model_id").isin(models)) if len(groups) > 1 else predictions, tiles, tables
            )
            for models, tables in groups
        ]
        return reduce(DataFrame.unionByName, frames)

    def _against(self, predictions: DataFrame, tiles: DataFrame, references: Mapping[str, pa.Table]) -> DataFrame:
        features = self.use_case.features.features
        subjects = self.subjects(predictions)
        rows = feature_rows(subjects, tiles, references, self.use_case, self.buckets, "as_of")
        again = rows.select(
            F.col("subject_id").alias("place"), *(F.col(f.name).alias(AGAIN + f.name) for f in features)
        )
        served = predictions.select("place", "id", "ds", "degraded", *(f.name for f in features))
        return served.join(again, "place").mapInArrow(partial(compare, features=features), COMPARED)

    def late_facts(self, kafka: KafkaSettings) -> DataFrame:
        """The facts that the stream has recorded as late: ``source``, ``id`` and the ``day`` of their tile."""
        rejected = late_ids(self.spark, Topics(self.use_case.name).rejected, kafka).persist()
        frames = []
        for contract in self.use_case.sources:
            ids = rejected.where(F.col("source") == contract.name)
            facts = self.facts(contract, self.first_tiles, self.days[-1])
            frames.append(facts.select(F.col(contract.key).alias("id"), tile_day()).join(ids, "id"))
        return of_span(reduce(DataFrame.unionByName, frames), "day", self.first_tiles, self.days[-1])

    def tiles_without(
        self, late: DataFrame, days: Sequence[date], withdrawn: Collection[str] | None = None
    ) -> DataFrame:
        """The tiles, those of ``days`` rebuilt without the late facts of these days, nor those of withdrawn files."""
        names = names_of(days)
        forgotten = late.where(F.col("day").isin(names))
        facts = {}
        for contract in self.use_case.sources:
            ids = forgotten.where(F.col("source") == contract.name).select(F.col("id").alias(contract.key))
            facts[contract.name] = self.facts(contract, days[0], days[-1], withdrawn).join(
                ids, contract.key, "left_anti"
            )
        rebuilt = of_named_days(build_tiles(facts, self.use_case.sources, self.use_case.tiles), days)
        return self.tiles().where(~F.col("ds").isin(names)).unionByName(rebuilt)

    def equal_by(self, asked: DataFrame, tiles: DataFrame) -> set[str]:
        """The places of those predictions that other tiles give to the bit."""
        again = self.against(asked, tiles).where(F.size("names") == 0)
        return {row["place"] for row in again.select("place").collect()}

    def at(self, found: Iterable[str]) -> DataFrame:
        """The comparable predictions of some places."""
        return self.comparable.join(places(self.spark, found), "place", "left_semi")

    def explained_by_late(self, open_places: set[str], late: DataFrame, days: Sequence[date]) -> set[str]:
        """The places of those predictions that late facts, of tiles of ``days``, explain."""
        found: set[str] = set()
        for number in range(len(days)):
            if found == open_places:
                break
            found |= self.equal_by(self.at(open_places - found), self.tiles_without(late, days[number:]))
        return found

    def superseded(self, open_places: set[str], late: DataFrame, days: Sequence[date]) -> set[str]:
        """The places of those that were right by the facts that counted when they were given, late facts or not."""
        *past, now = periods(read_events(self.use_case.name))
        found: set[str] = set()
        for period in past:
            if found == open_places:
                break
            asked = of_period(self.at(open_places - found), period)
            touched = self.days_of(period.withdrawn ^ now.withdrawn) if not asked.isEmpty() else []
            for number in range(len(days) + 1 if touched else 0):
                forgotten = late.where(F.col("day").isin(names_of(days[number:])))
                again = sorted({*touched, *days[number:]})
                found |= self.equal_by(asked, self.tiles_without(forgotten, again, period.withdrawn))
        return found

    def days_of(self, files: Collection[str]) -> list[date]:
        """The days, of those that windows reach into, with tiles made of the facts of some landing files."""
        frames = []
        for contract in self.use_case.sources:
            facts = self.facts(contract, self.first_tiles, self.days[-1], withdrawn=())
            frames.append(facts.where(F.col("landing_key").isin(sorted(files))).select(tile_day()))
        return tile_days(of_span(reduce(DataFrame.unionByName, frames), "day", self.first_tiles, self.days[-1]))

    def outcome(self, kafka: KafkaSettings) -> DataFrame:
        """``COMPARED`` for every comparable prediction, with ``explained``, ``superseded`` and ``different`` (none of
        them: equal)."""
        compared = self.against(self.comparable, self.tiles()).persist()
        open_places = {row["place"] for row in compared.where(F.size("names") > 0).select("place").collect()}
        reasons: dict[str, str] = {}
        if open_places:
            late = self.late_facts(kafka).persist()
            days = tile_days(late)
            explained = self.explained_by_late(open_places, late, days)
            superseded = self.superseded(open_places - explained, late, days)
            late.unpersist()
            reasons = dict.fromkeys(explained, "explained") | dict.fromkeys(superseded, "superseded")
        told = self.spark.createDataFrame(sorted(reasons.items()), "place string, reason string")
        with_told = compared.join(F.broadcast(told), "place", "left")
        return with_told.withColumns(
            {
                "explained": F.equal_null("reason", F.lit("explained")),
                "superseded": F.equal_null("reason", F.lit("superseded")),
                "different": (F.size("names") > 0) & F.col("reason").isNull(),
            }
        )

    def parity_by_day(self, kafka: KafkaSettings) -> list[DayParity]:
        """The comparison of each day, in order."""
        outcome = self.outcome(kafka).persist()
        other = F.count_if(F.col("features_hash") != self.use_case.features.hash()).alias("other")
        logged = self.logged.groupBy("ds").agg(F.count("*").alias("logged"), other)
        of_different = F.collect_set(F.when(F.col("different"), F.col("id")))
        counts = outcome.groupBy("ds").agg(
            F.count("*").alias("compared"),
            F.count_if("explained").alias("explained"),
            F.count_if("superseded").alias("superseded"),
            F.count_if("different").alias("different"),
            F.count_if(F.col("different") & F.col("degraded")).alias("degraded"),
            F.slice(F.array_sort(of_different), 1, IDS_SHOWN).alias("subjects"),
        )
        features: dict[str, dict[str, int]] = {}
        named = outcome.where("different").select("ds", F.explode("names").alias("name"))
        for row in named.groupBy("ds", "name").count().collect():
            features.setdefault(row["ds"], {})[row["name"]] = row["count"]
        rows = logged.join(counts, "ds", "left").orderBy("ds").collect()
        outcome.unpersist()
        return [day_parity(row.asDict(), features.get(row["ds"], {})) for row in rows]

    def freshness(self) -> list[dict[str, Any]]:
        """Per day and source how many ``seconds`` (at each quantile) ``as_of`` lay behind the prediction's minute.

        ``blind`` counts predictions that saw nothing of the source; with none that did, ``seconds`` is None.
        """
        moments = self.logged.select("ds", "prediction_time", F.explode("as_of").alias("source", "until"))
        behind = F.unix_timestamp(F.date_trunc("MINUTE", "prediction_time")) - F.unix_timestamp("until")
        quantiles = F.array(*(F.lit(float(quantile)) for quantile in QUANTILES))
        measured = moments.groupBy("ds", "source").agg(
            F.percentile(behind, quantiles).alias("seconds"), F.count_if(F.col("until").isNull()).alias("blind")
        )
        return [row.asDict() for row in measured.orderBy("ds", "source").collect()]


def landed_references(use_case: UseCase) -> dict[str, bytes]:
    """The reference tables as they have landed, plain CSV by name."""
    client = s3_client()
    names = [reference.name for reference in use_case.features.references]
    return {name: gzip.decompress(reference_content(client, use_case.name, name)) for name in names}


def bundled_references(store: ObjectStore, use_case: str, model_id: str) -> dict[str, bytes]:
    """Those that a model was trained with and answers with, as long as it is served; none if its bundle is gone."""
    try:
        return references_in(read_files(store, use_case, model_id, card=False))
    except (BundleCorrupt, ObjectMissing) as error:
        log.warning("model %s is compared with the reference tables of now: %s", model_id, error)
        return {}


def by_references(found: Mapping[str, Mapping[str, bytes]]) -> list[tuple[list[str], Mapping[str, bytes]]]:
    """Models together that have the same tables (model -> tables by name), and these."""
    groups: dict[tuple[tuple[str, bytes], ...], list[str]] = {}
    for model, contents in sorted(found.items()):
        groups.setdefault(tuple(sorted(contents.items())), []).append(model)
    return [(models, dict(contents)) for contents, models in groups.items()]


def tables_of(use_case: UseCase, contents: Mapping[str, bytes]) -> dict[str, pa.Table]:
    """Plain CSV files as the tables that features are made with."""
    references = use_case.features.references
    return {one.name: parse_reference(one, contents[one.name]) for one in references}


def compare(batches: Iterable[pa.RecordBatch], features: Sequence[Feature]) -> Iterator[pa.RecordBatch]:
    """On a Spark worker: served and recomputed features -> ``COMPARED``."""
    for batch in batches:
        pairs = pa.Table.from_batches([batch])
        names = pa.array(differences(pairs, features), pa.list_(pa.string()))
        yield from pairs.select(["place", "id", "ds", "degraded"]).append_column("names", names).to_batches()


def places(spark: SparkSession, found: Iterable[str]) -> DataFrame:
    """Places as a frame."""
    return spark.createDataFrame([(place,) for place in sorted(found)], "place string")


def tile_day() -> Column:
    """The day of the tile that a raw fact belongs to, as ``day``."""
    return F.date_format("moment", "yyyy-MM-dd").alias("day")


def tile_days(facts: DataFrame) -> list[date]:
    """The days of facts that have a ``day``, in order."""
    return sorted(date.fromisoformat(row["day"]) for row in facts.select("day").distinct().collect())


def of_period(predictions: DataFrame, period: Period) -> DataFrame:
    """Only the predictions that were given in a period."""
    given = F.col("predicted_at")
    after = predictions if period.start is None else predictions.where(given >= F.lit(period.start))
    return after if period.end is None else after.where(given < F.lit(period.end))


def of_span(frame: DataFrame, column: str, first: date, last: date) -> DataFrame:
    """Only the rows whose day lies in a span, both ends included."""
    return frame.where(F.col(column).between(first.isoformat(), last.isoformat()))


def late_ids(spark: SparkSession, topic: str, kafka: KafkaSettings) -> DataFrame:
    """``source`` and ``id`` of every fact on the rejected topic that came too late; none if there is no such topic."""
    schema = "source string, id string"
    if not extents(kafka, topic):
        return spark.createDataFrame([], schema)
    options = {**kafka.spark_options(), "subscribe": topic, "startingOffsets": "earliest"}
    messages = spark.read.format("kafka").options(**options).load().select(F.col("value").cast("string"))
    rejections = messages.select(F.from_json("value", f"{schema}, type string").alias("r")).select("r.*")
    return rejections.where(F.col("type") == PROBLEM_TYPE + LATE).select("source", "id").distinct()


def day_parity(row: Mapping[str, Any], features: Mapping[str, int]) -> DayParity:
    """A day's comparison from its counts; null counts nothing."""
    counts = {name: int(row[name] or 0) for name in ("compared", "explained", "superseded", "different", "degraded")}
    subjects = tuple(row["subjects"] or ())
    return DayParity(row["ds"], row["logged"], row["other"], **counts, features=features, subjects=subjects)
