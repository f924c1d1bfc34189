"""Queries prepared by Spark: the verdicts of the predictor's own checker, and references as it would look them up."""

import json
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.spark_jobs.prepare_queries import ReferenceFile, prepared, reference_frame
from include.streaming.messages import PreparedQuery, Rejection
from include.use_case import load_use_case
from speed_service.queries import Query, check_subject
from tests.speed_service.conftest import subject

USE_CASE = load_use_case("flight_delay")
ROWS: dict[str, pa.Table] = {
    "planes": pa.table(
        {
            "tailnum": ["N1", "N2"],
            "year": ["1999", None],
            "seats": ["55", "x"],
            "engines": ["2", "2"],
            "manufacturer": ["EMBRAER", None],
            "model": ["A, B", "ü"],
        }
    ),
    "airports": pa.table({"faa": ["IAH"], "lat": ["29.984433"], "lon": ["-95.34"], "alt": ["97"]}),
}
MOST_BYTES = 10_000
SUBJECTS: list[Any] = [
    subject(),
    subject(tailnum="N2", dest="XXX"),
    subject(tailnum=None, prediction_time="2013-01-20T10:00:00Z"),
    subject(prediction_time="2013-01-20T14:30:00Z"),
    subject(prediction_time="2013-01-20T14:30:01Z"),
    subject(origin="SFO", distance=-3),
    subject(carrier=["UA"]),
    subject(id="x" * 600_000),
    {},
    [],
]


@pytest.fixture(scope="module")
def messages(spark: SparkSession) -> list[dict[str, Any]]:
    files = [ReferenceFile(r, ROWS[r.name], f"sha of {r.name}") for r in USE_CASE.features.references]
    tables = {file.reference.name: reference_frame(spark, file) for file in files}
    versions = F.struct(*(F.lit(file.version).alias(file.reference.name) for file in files))
    texts = [*(json.dumps(item) for item in SUBJECTS), "nope"]
    rows = spark.createDataFrame([(text,) for text in texts], "value string").coalesce(1)
    return [row.asDict() for row in prepared(rows, USE_CASE, tables, versions).collect()]


def test_good_queries_go_on_and_bad_ones_are_answered(messages: list[dict[str, Any]]) -> None:
    for item, message in zip([*SUBJECTS, "nope"], messages, strict=True):
        verdict = check_subject(item, USE_CASE)
        topic = message["topic"].removeprefix("flight_delay.")
        assert topic == ("prepared_queries" if isinstance(verdict, Query) else "rejected"), item
        if isinstance(verdict, Query):
            query = PreparedQuery(**json.loads(message["value"]))
            again = check_subject(query.subject, USE_CASE)
            assert again == verdict
            assert message["key"] == verdict.id
            assert query.subject["prediction_time"] == f"{verdict.prediction_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        else:
            rejection = Rejection(**json.loads(message["value"]))
            if isinstance(item, dict):
                assert [(e["field"], e["reason"]) for e in rejection.errors] == verdict  # type: ignore[index]
            assert len(message["key"]) + len(message["value"]) < MOST_BYTES, "a broker takes no more than a million"
            assert rejection.source == "queries" and rejection.status == 422 and rejection.time.endswith("Z")


def test_references_are_what_the_predictor_would_look_up(messages: list[dict[str, Any]]) -> None:
    for item, message in zip(SUBJECTS[:4], messages, strict=False):
        query = PreparedQuery(**json.loads(message["value"]))
        assert query.reference_versions == {"planes": "sha of planes", "airports": "sha of airports"}
        expected: dict[str, Any] = {}
        for reference in USE_CASE.features.references:
            expected |= looked_up(reference.name, item.get(reference.key))
        assert query.references == expected


def looked_up(name: str, key: str | None) -> dict[str, Any]:
    (reference,) = (r for r in USE_CASE.features.references if r.name == name)
    rows = {row[reference.key_column]: row for row in ROWS[name].to_pylist()}
    row = rows.get(key, {})
    kinds = {"numeric": number, "text": lambda value: value}
    return {f"{name}_{column}": kinds[kind](row.get(column)) for column, kind in reference.columns.items()}


def number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
