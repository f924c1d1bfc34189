"""Messages judged by Spark and by Python are judged alike: any JSON text, and texts that are none."""

import json
from dataclasses import replace
from datetime import UTC
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.contracts import reasons
from include.contracts.contract import Field
from include.contracts.json_columns import MESSAGE, judged_messages, text_field
from include.contracts.validator import Valid, validate
from tests.contracts.test_contract_parity import CONTRACT, GOOD, RECORDS

NESTED = st.just({}) | st.just([]) | st.just({"a": [1, None]}) | st.just(["x"])
#: A field may hold an object, and a message may have fields that nobody knows.
MESSAGES = st.tuples(
    RECORDS,
    st.dictionaries(st.sampled_from(CONTRACT.field_names), NESTED, max_size=2),
    st.dictionaries(st.text(max_size=3), NESTED, max_size=1),
).map(lambda parts: {**parts[2], **parts[0], **parts[1]})
NO_OBJECTS = ["", " ", "null", "1", '"text"', "[]", "[{}]", "{", "{]", "nope", '{"id": NaN}', '{"id": 1,}', "\x00"]
AS_WRITTEN = ['{"id": 1e2, "amount": 1.0, "seen_at": "2013-01-01T00:00:00Z"}', '{"id": 100000000000.5, "amount": 1e3}',
              '{"id": "x", "id": "y", "amount": 3, "seen_at": "2013-01-01T00:00:00Z"}',
              '{"id": -0, "amount": -0, "level": 1e-7}',
              '{"id": true, "amount": 12345678901234567890}']  # fmt: skip


def random_messages(count: int) -> list[str]:
    """Let Hypothesis draw messages, to be judged in one Spark job. Not what JSON cannot carry: NaN, lone surrogates."""
    found: list[str] = []

    @settings(max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(MESSAGES, st.booleans())
    def draw(message: dict[str, Any], ascii_only: bool) -> None:
        try:
            text = json.dumps(message, allow_nan=False, ensure_ascii=ascii_only)
        except ValueError:
            return
        found.append(text)

    draw()
    return found


def by_python(text: str) -> dict[str, Any]:
    """The verdict on a message in plain Python."""
    try:
        record = json.loads(text, parse_constant=_refuse)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return {"reasons": [f"message: {reasons.NOT_OBJECT}"]}
    judged = validate(record, CONTRACT)
    if not isinstance(judged, Valid):
        return {"reasons": judged}
    times = {"available": judged.available_at, "moment": judged.moment}
    values = {n: v if n != "seen_at" else int(v.timestamp()) for n, v in judged.values.items()}  # type: ignore[union-attr]
    return {"reasons": [], **values, **{n: int(t.timestamp()) for n, t in times.items() if t is not None}}


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def by_spark(spark: SparkSession, texts: list[str]) -> list[dict[str, Any]]:
    rows = spark.createDataFrame([(number, text) for number, text in enumerate(texts)], "number int, value string")
    found = []
    for row in judged_messages(rows, CONTRACT).orderBy("number").collect():
        if row["reasons"]:
            found.append({"reasons": row["reasons"]})
            continue
        values = {
            n: v.astimezone(UTC).timestamp() if n == "seen_at" else v
            for n, v in row.asDict().items()
            if n in CONTRACT.field_names
        }
        times = {"available": row["available_at"].timestamp(), "moment": row["moment"].timestamp()}
        found.append({"reasons": [], **values, **times})
    return found


def test_spark_and_python_judge_messages_alike(spark: SparkSession) -> None:
    texts = [*NO_OBJECTS, *AS_WRITTEN, *random_messages(400)]
    expected = [by_python(text) for text in texts]
    found = by_spark(spark, texts)
    assert len(found) == len(expected)
    for text, one, other in zip(texts, found, expected, strict=True):
        assert one == other, text
    kinds = {str(e["reasons"])[:12] for e in expected}
    assert sum(not e["reasons"] for e in expected) > 5 and len(kinds) > 5
    assert any(reasons.NOT_SINGLE in str(e["reasons"]) for e in expected)


def test_a_field_may_be_called_as_kafka_calls_the_message(spark: SparkSession) -> None:
    sensor = replace(CONTRACT, fields=(*CONTRACT.fields, Field("value", "double", "")))
    text = json.dumps({**GOOD, "value": 7.5})
    (row,) = judged_messages(spark.createDataFrame([(text,)], "value string"), sensor).collect()
    assert (row["reasons"], row["value"], row[MESSAGE]) == ([], 7.5, text)


def test_a_field_beside_the_contract(spark: SparkSession) -> None:
    texts = ['{"complete_through": "2013-01-01T00:00:00Z"}', "{}", "nope", '{"complete_through": null}', "[]"]
    rows = spark.createDataFrame([(n, t) for n, t in enumerate(texts)], "n int, value string")
    found = [row[0] for row in rows.orderBy("n").select(text_field("complete_through")).collect()]
    assert found == ["2013-01-01T00:00:00Z", None, None, None, None]
    assert rows.select(F.count("*")).collect()[0][0] == len(texts)
