"""The scorecard's figures that need the facts: accuracy, completeness, consistency, timeliness and accessibility.

DataFrame functions without a job of their own: ``preprocess_features`` computes them for the days that it finishes and
broadcasts them. Each gives rows ``ds, source, dimension, value``; a source without a row on a day has no value.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include import book, lake
from include.contracts.contract import Contract
from include.landing import s3_client
from include.locations import LANDING_BUCKET, Lake, landing_prefix
from include.spark_jobs.catalog import counting_facts, of_days
from include.tables import LANDING_FILES
from include.use_case import UseCase

Share = tuple[str, str, str, float]


def completeness(contract: Contract, empty_says: Sequence[str] = ()) -> Column:
    """A row's share of nullable fields that have a value, without those whose emptiness says something (1 if no field
    is left)."""
    counted = [field.name for field in contract.fields if field.nullable and field.name not in empty_says]
    present = [F.col(name).isNotNull().cast("double") for name in counted]
    return reduce(lambda one, other: one + other, present) / len(present) if present else F.lit(1.0)


def accuracy(check: str) -> Column:
    """Whether the use case's SQL condition holds for a row; one that a null leaves open counts as held."""
    return F.coalesce(F.expr(check), F.lit(True))


def shared_fields(contract: Contract, subject: Contract) -> list[str]:
    """The fields that a source has in common with the subjects, without its key."""
    return [name for name in contract.field_names if name in subject.field_names and name != subject.key]


def beside_subjects(facts: DataFrame, contract: Contract, subjects: DataFrame, subject: Contract) -> DataFrame:
    """Each fact with what is known of its subject (``known FIELD``, ``known ds``), for ``consistency``."""
    fields = (F.col(name).alias(f"known {name}") for name in ("ds", *shared_fields(contract, subject)))
    return facts.join(subjects.select(F.col(subject.key).alias(contract.key), *fields), contract.key, "left")


def days_before(use_case: UseCase) -> int:
    """So many days before a fact its subject may have been announced, for a label to see both."""
    return use_case.source(use_case.subject_source).announced_days + use_case.label_horizon_days


def consistency(contract: Contract, subject: Contract, days: int) -> Column:
    """Whether a row's subject was announced by its day, at most ``days`` before, with equal values in every field that
    both contracts have."""
    equal = [F.col(name).eqNullSafe(F.col(f"known {name}")) for name in shared_fields(contract, subject)]
    announced = F.col("known ds").between(F.date_sub("ds", days).cast("string"), F.col("ds"))
    return reduce(lambda one, other: one & other, equal, F.coalesce(announced, F.lit(False)))


def shares(rows: DataFrame, source: str, dimensions: Mapping[str, Column]) -> DataFrame:
    """Per ``ds`` the mean of some columns from 0 to 1, as rows of the scorecard; one pass over the rows."""
    means = (F.avg(good.cast("double")).alias(dimension) for dimension, good in dimensions.items())
    wide = rows.groupBy("ds").agg(*means).unpivot(["ds"], list(dimensions), "dimension", "value")
    return wide.select("ds", F.lit(source).alias("source"), "dimension", "value")


def timeliness(files: Iterable[Mapping[str, Any]], landed: Mapping[str, datetime], limit: timedelta) -> list[Share]:
    """The share of landed rows whose file was ingested within ``limit`` of its landing; files no longer there are
    left out. ``files`` are rows of ``landing_files``, ``landed`` the time of each object by its key."""
    rows: dict[tuple[str, str], list[int]] = {}
    for file in files:
        if (moment := landed.get(file["landing_key"])) is not None:
            count = rows.setdefault((file["ds"], file["source"]), [0, 0])
            count[0] += file["rows"]
            count[1] += file["rows"] if file["ingested_at"] - moment <= limit else 0
    return [(ds, source, "timeliness", good / all_) for (ds, source), (all_, good) in sorted(rows.items()) if all_]


def landing_times(use_case: UseCase, days: Sequence[date]) -> dict[str, datetime]:
    """When each landing object of some days was written, by key (UTC)."""
    pages = s3_client().get_paginator("list_objects_v2")
    found: dict[str, datetime] = {}
    for contract in use_case.sources:
        for day in days:
            prefix = landing_prefix(use_case.name, contract.name, day)
            for page in pages.paginate(Bucket=LANDING_BUCKET, Prefix=prefix):
                found |= {entry["Key"]: entry["LastModified"] for entry in page.get("Contents", [])}
    return found


def accessibility(readable: Mapping[tuple[str, str], int], lines: Iterable[Mapping[str, Any]]) -> list[Share]:
    """Rows that were read by name, of those that the ingest book says were accepted; both by (ds, source)."""
    found = []
    for line in lines:
        if line["ingested"]:
            share = min(1.0, readable.get((line["ds"], line["source"]), 0) / line["ingested"])
            found.append((line["ds"], line["source"], "accessibility", share))
    return found


def readable_rows(spark: SparkSession, use_case: UseCase, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """Rows of the raw tables by (ds, source) as the metastore's name leads to them; a lost data file has none."""
    frames = []
    for contract in use_case.sources:
        table = spark.table(Lake(use_case.name).name(f"raw_{contract.name}")).where(F.col("ds").isin(*names))
        # A column's values are read: counting alone would be answered from the table's log.
        read = table.groupBy("ds").agg(F.count(F.col(contract.key)).alias("rows"))
        frames.append(read.withColumn("source", F.lit(contract.name)))
    return {(row["ds"], row["source"]): row["rows"] for row in reduce(DataFrame.unionByName, frames).collect()}


def fact_shares(use_case: UseCase, facts: Mapping[str, DataFrame], subjects: DataFrame) -> DataFrame:
    """Completeness, accuracy and consistency of the days that ``facts`` (by source) have: ``ds, source, dimension,
    value``. ``subjects`` are the subject source's facts of these days and of ``days_before``."""
    frames = (source_shares(use_case, source, facts[source.name], subjects) for source in use_case.sources)
    return reduce(DataFrame.unionByName, frames)


def source_shares(use_case: UseCase, contract: Contract, facts: DataFrame, subjects: DataFrame) -> DataFrame:
    """``fact_shares`` of one source."""
    quality, subject = use_case.quality, use_case.source(use_case.subject_source)
    dimensions = {"completeness": completeness(contract, quality.empty_says.get(contract.name, ()))}
    if contract.name in quality.accuracy:
        dimensions["accuracy"] = accuracy(quality.accuracy[contract.name])
    if contract.name in quality.about_subjects:
        dimensions["consistency"] = consistency(contract, subject, days_before(use_case))
        facts = beside_subjects(facts, contract, subjects, subject)
    return shares(facts, contract.name, dimensions)


def assess(
    spark: SparkSession, use_case: UseCase, days: Sequence[date], lines: Sequence[Mapping[str, Any]]
) -> list[Share]:
    """All figures of some days that need the facts; ``lines`` are the ingest book's of these days."""
    names = book.names_of(days)
    facts = {contract.name: counting_facts(spark, use_case.name, contract.name) for contract in use_case.sources}
    chosen = {source: table.where(F.col("ds").isin(*names)) for source, table in facts.items()}
    # Not of all days: a night must not take longer the more history there is.
    subjects = of_days(facts[use_case.subject_source], min(days) - timedelta(days=days_before(use_case)), max(days))
    rows = fact_shares(use_case, chosen, subjects).collect()
    found = [(row["ds"], row["source"], row["dimension"], row["value"]) for row in rows]
    files = lake.read_rows(
        use_case.name, LANDING_FILES.name, ["ds", "source", "landing_key", "rows", "ingested_at"], names
    )
    limit = timedelta(hours=use_case.quality.timely_hours)
    found += timeliness(files, landing_times(use_case, days), limit)
    return found + accessibility(readable_rows(spark, use_case, names), lines)
