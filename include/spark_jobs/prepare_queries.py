"""Queries -> prepared queries: the subject's contract and the reference join, in Spark's Real-Time Mode.

Stateless and in column expressions alone, so that Spark can run it within milliseconds. A query that fails goes to the
rejected topic with its reasons; a good one goes to the speed service with its prediction time resolved and the
reference columns beside it. Delivery is at least once; the service makes it once. It knows no domain.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include.contracts.json_columns import MESSAGE, judged_messages
from include.declaration import PREDICTION_TIME
from include.features.columns import read_reference
from include.features.spec import Reference
from include.landing import reference_content, s3_client
from include.locations import Topics
from include.streaming import messages
from include.streaming.messages import INVALID, PROBLEM_TYPE, QUERIES, RECORD_CHARACTERS, TITLES
from include.use_case import UseCase, too_near

TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss'Z'"
PRECISE_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"


@dataclass(frozen=True)
class ReferenceFile:
    """A reference table as it landed: its rows (texts), and the SHA-256 of its plain CSV."""

    reference: Reference
    rows: pa.Table
    version: str


def read_reference_files(client: Any, use_case: UseCase) -> list[ReferenceFile]:
    """Every reference of the use case from the landing bucket; raises ``ReferenceMissing``."""
    found = []
    for reference in use_case.features.references:
        content = reference_content(client, use_case.name, reference.name)
        version = hashlib.sha256(gzip.decompress(content)).hexdigest()
        found.append(ReferenceFile(reference, read_reference(reference, content), version))
    return found


def reference_frame(spark: SparkSession, file: ReferenceFile) -> DataFrame:
    """A reference as a small DataFrame: its key as ``key of <name>``, its columns as ``<name>_<column>``."""
    reference = file.reference
    names = [reference.key_column, *reference.columns]
    schema = ", ".join(f"`{name}` string" for name in names)
    rows = spark.createDataFrame([tuple(row[name] for name in names) for row in file.rows.to_pylist()], schema)
    types = {"numeric": "double", "text": "string"}
    columns = [
        F.col(name).try_cast(types[kind]).alias(f"{reference.name}_{name}") for name, kind in reference.columns.items()
    ]
    return rows.select(F.col(reference.key_column).alias(f"key of {reference.name}"), *columns)


def prepared(queries: DataFrame, use_case: UseCase, references: Mapping[str, DataFrame], versions: Column) -> DataFrame:
    """Kafka rows (``topic``, ``key``, ``value``) for queries given as JSON texts in the column ``value``."""
    judged = timed(judged_messages(queries.select("value"), use_case.subject), use_case)
    joined = judged
    for reference in use_case.features.references:
        joined = _joined(joined, reference, references[reference.name])
    good = F.size("reasons") == 0
    topics = Topics(use_case.name)
    return joined.select(
        F.when(good, topics.prepared_queries).otherwise(topics.rejected).alias("topic"),
        F.coalesce(F.when(good, F.col(use_case.subject.key)).otherwise(_told_id(use_case)), F.lit("")).alias("key"),
        F.when(good, _prepared_query(use_case, versions)).otherwise(_rejection(use_case)).alias("value"),
    )


def _joined(frame: DataFrame, reference: Reference, table: DataFrame) -> DataFrame:
    key = f"key of {reference.name}"
    return frame.join(F.broadcast(table), F.col(reference.key) == F.col(key), "left").drop(key)


def timed(judged: DataFrame, use_case: UseCase) -> DataFrame:
    """Resolve the prediction time, and reject a good query whose outcome could be known by then."""
    happens = F.col(use_case.subject_time)
    lead = F.expr(f"INTERVAL {use_case.prediction_lead_minutes} MINUTE")
    nearest = happens - F.expr(f"INTERVAL {use_case.minimum_lead_minutes} MINUTE")
    wanted = F.coalesce(PREDICTION_TIME, happens - lead)
    near = F.array(F.lit(f"{PREDICTION_TIME}: {too_near(use_case)}"))
    told = F.when((F.size("reasons") == 0) & (wanted > nearest), near).otherwise(F.col("reasons"))
    return judged.withColumns({PREDICTION_TIME: wanted, "reasons": told})


def _prepared_query(use_case: UseCase, versions: Column) -> Column:
    """The JSON of a ``PreparedQuery``; an absent reference column is null."""
    fields = [_json_value(field.name, field.type) for field in use_case.subject.fields]
    columns = [F.col(f"{item.name}_{column}") for item in use_case.features.references for column in item.columns]
    message = F.struct(
        F.struct(*fields).alias("subject"),
        F.struct(*columns).alias("references"),
        versions.alias("reference_versions"),
    )
    return F.to_json(message, {"ignoreNullFields": "false"})


def _json_value(name: str, kind: str) -> Column:
    return (F.date_format(name, TIME_FORMAT) if kind == "timestamp" else F.col(name)).alias(name)


def _rejection(use_case: UseCase) -> Column:
    """The JSON of a ``Rejection``, in the form that ``messages.rejection`` gives."""
    first = F.element_at("reasons", 1)
    more = F.when(F.size("reasons") > 1, F.format_string(" (and %d more)", F.size("reasons") - 1)).otherwise("")
    message = F.struct(
        _told_id(use_case).alias("id"),
        F.lit(QUERIES).alias("source"),
        F.lit(PROBLEM_TYPE + INVALID).alias("type"),
        F.lit(TITLES[INVALID]).alias("title"),
        F.lit(messages.STATUS).alias("status"),
        F.concat(first, more).alias("detail"),
        F.transform("reasons", _fault).alias("errors"),
        F.substring(F.coalesce(MESSAGE, F.lit("")), 1, RECORD_CHARACTERS).alias("record"),
        F.date_format(F.current_timestamp(), PRECISE_FORMAT).alias("time"),
    )
    return F.to_json(message, {"ignoreNullFields": "false"})


def _told_id(use_case: UseCase) -> Column:
    """The beginning of a rejected query's id: it may be as long as a whole message."""
    return F.substring(F.col(use_case.subject.key), 1, RECORD_CHARACTERS)


def _fault(reason: Column) -> Column:
    """``distance: '-3' is below 1`` as field and reason."""
    field = F.substring_index(reason, ": ", 1)
    return F.struct(field.alias("field"), F.substring(reason, F.length(field) + 3, F.length(reason)).alias("reason"))


def prepared_stream(spark: SparkSession, use_case: UseCase, queries: DataFrame) -> DataFrame:
    """The whole stream: references read once, at the start (a reference file is never replaced)."""
    files = read_reference_files(s3_client(), use_case)
    tables = {file.reference.name: reference_frame(spark, file) for file in files}
    versions = F.struct(*(F.lit(file.version).alias(file.reference.name) for file in files))
    return prepared(queries, use_case, tables, versions)
