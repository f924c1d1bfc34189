"""The Spark judgement and the Python judgement of a contract are one: same verdicts, words, values and times."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.contracts.columns import judged, schema_differences
from include.contracts.contract import Contract, Field, MomentRule
from include.contracts.validator import Valid, text_of, validate

CONTRACT = Contract(
    name="readings",
    version=3,
    comment="for tests",
    fields=(
        Field("id", "string", "", max_length=5),
        Field("kind", "string", "", nullable=True, allowed=("a", "b")),
        Field("amount", "integer", "", minimum=-5, maximum=2000),
        Field("big", "integer", "", nullable=True, maximum=999999999999999998),
        Field("level", "double", "", nullable=True, minimum=-1.5, maximum=1e300),
        Field("free", "double", "", nullable=True),
        Field("seen_at", "timestamp", ""),
    ),
    key="id",
    event_time=MomentRule("seen_at"),
    available_time=MomentRule("seen_at", plus_minutes=-720, day_start=True),
    announced_days=1,
)
TEXTS = [
    "", "a", "b", "c", "0", "-0", "007", "-5", "-6", "2000", "2001", "9999", "5.0", "+5", " 5", "5 ", "5\n",
    "1e3", "1E-3", "1e999", "-1e999", "-1.5", "-1.6", ".5", "5.", "NaN", "Infinity", "999999999999999998",
    "999999999999999999", "9999999999999999999", "0x1F", "1_000", "\u0663", "true", "abcde", "abcdef", "😀" * 5,
    "😀" * 6, "x" * 200, "it's", "2013-01-29T10:15:00Z", "2013-02-29T00:00:00Z", "2012-02-29T00:00:00Z",
    "2013-02-30T00:00:00Z", "2013-13-01T00:00:00Z", "2013-01-01T24:00:00Z", "2013-01-01T23:59:60Z",
    "2013-01-01T23:59:59Z", "2013-1-1T00:00:00Z", "2013-01-01 00:00:00", "2013-01-01T00:00:00",
    "2013-01-01T00:00:00+02:00", "0000-01-01T00:00:00Z", "1899-12-31T00:00:00Z", "2013-01-01T00:00:00Z\n",
    "1969-12-31T23:59:59Z",
]  # fmt: skip
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["x1", "y"]),
    "amount": st.integers(-7, 2003),
    "level": st.floats(allow_nan=True, allow_infinity=True) | st.floats(-2, 2),
    "free": st.floats(),
    "big": st.integers(-(10**19), 10**19),
    "seen_at": st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)).map(lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ")),
}
ANYTHING = st.none() | st.sampled_from(TEXTS) | st.text(max_size=8) | st.booleans() | st.integers() | st.floats()
RECORDS = st.fixed_dictionaries({name: LIKELY.get(name, ANYTHING) | ANYTHING for name in CONTRACT.field_names})


def random_records(count: int) -> list[dict[str, Any]]:
    """Let Hypothesis draw ``count`` records, to be judged in one Spark job."""
    records: list[dict[str, Any]] = []

    @settings(max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(RECORDS)
    def draw(record: dict[str, Any]) -> None:
        records.append(record)

    draw()
    return records


def text_frame(spark: SparkSession, records: list[dict[str, Any]], contract: Contract) -> DataFrame:
    """The records as a DataFrame of texts, as a landing file carries them."""
    rows = [
        (number, *(text_of(record.get(name)) for name in contract.field_names)) for number, record in enumerate(records)
    ]
    schema = ", ".join(["number int", *(f"`{name}` string" for name in contract.field_names)])
    return spark.createDataFrame(rows, schema)


def spark_verdicts(spark: SparkSession, records: list[dict[str, Any]], contract: Contract) -> list[dict[str, Any]]:
    """Each record's typed values, reasons and times as Spark judges them; timestamps as seconds since 1970."""
    frame = judged(text_frame(spark, records, contract), contract)
    times = [name for name, kind in frame.dtypes if kind == "timestamp"]
    frame = frame.withColumns({name: F.unix_seconds(name) for name in times}).orderBy("number")
    return [row.asDict() for row in frame.collect()]


def seconds(value: Any) -> Any:
    """A time as seconds since 1970; anything else as it is."""
    return int(value.timestamp()) if isinstance(value, datetime) else value


def test_spark_and_python_judge_random_records_alike(spark: SparkSession) -> None:
    records = random_records(600)
    for value in TEXTS:
        good = {"id": "x", "kind": "a", "amount": 1, "seen_at": "2013-01-29T10:15:00Z"}
        records.extend({**good, name: value} for name in CONTRACT.field_names)
    accepted = 0
    for record, row in zip(records, spark_verdicts(spark, records, CONTRACT), strict=True):
        verdict = validate(record, CONTRACT)
        if isinstance(verdict, Valid):
            accepted += 1
            expected = {name: seconds(value) for name, value in verdict.values.items()}
            assert {name: row[name] for name in CONTRACT.field_names} == expected, record
            assert (row["available_at"], row["moment"]) == (seconds(verdict.available_at), seconds(verdict.moment))
        assert row["reasons"] == ([] if isinstance(verdict, Valid) else verdict), record
    assert 50 < accepted < len(records) - 50


def test_a_fact_known_longer_before_its_event_than_the_contract_says_is_rejected(spark: SparkSession) -> None:
    told = Field("told_at", "timestamp", "")
    ahead = replace(CONTRACT, fields=(*CONTRACT.fields, told), available_time=MomentRule("told_at"), announced_days=2)
    reason = "seen_at: is more than 2 day(s) after the day on which the fact became known"
    expected = {"2013-01-26T23:59:59Z": [reason], "2013-01-27T00:00:00Z": [], "2013-02-20T00:00:00Z": [], "": REQUIRED}
    records = [{**GOOD, "told_at": text} for text in expected]
    for record, row in zip(records, spark_verdicts(spark, records, ahead), strict=True):
        verdict = validate(record, ahead)
        assert ([] if isinstance(verdict, Valid) else verdict) == row["reasons"] == expected[record["told_at"]], record


REQUIRED = ["told_at: required"]
GOOD: dict[str, Any] = {"id": "x", "kind": None, "amount": "7", "seen_at": "2013-01-29T10:15:00Z"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": "9999"}, "amount: '9999' is above 2000"),
        ({"amount": -6}, "amount: '-6' is below -5"),
        ({"amount": "ten"}, "amount: 'ten' is not an integer"),
        ({"amount": ""}, "amount: required"),
        ({"level": -2.5}, "level: '-2.5' is below -1.5"),
        ({"level": "high"}, "level: 'high' is not a number"),
        ({"kind": "c"}, "kind: 'c' is not one of a, b"),
        ({"id": "abcdef"}, "id: 'abcdef' is longer than 5 characters"),
        ({"id": ["x"]}, "id: must be a single value, not an object or a list"),
        (
            {"seen_at": "2013-02-30T00:00:00Z"},
            "seen_at: '2013-02-30T00:00:00Z' is not a UTC time like 2013-01-31T23:59:00Z",
        ),
    ],
)
def test_a_rejected_record_says_what_is_wrong(change: dict[str, Any], reason: str) -> None:
    assert validate({**GOOD, **change}, CONTRACT) == [reason]


def test_a_good_record_has_typed_values_and_both_times() -> None:
    verdict = validate(GOOD, CONTRACT)
    assert isinstance(verdict, Valid)
    assert verdict.values["amount"] == 7 and verdict.values["level"] is None
    assert verdict.available_at == datetime(2013, 1, 28, 12, tzinfo=UTC)
    assert verdict.moment == datetime(2013, 1, 29, 10, 15, tzinfo=UTC)


def test_judging_keeps_other_columns_and_takes_a_missing_field_for_null(spark: SparkSession) -> None:
    frame = text_frame(spark, [GOOD], CONTRACT).drop("level", "amount")
    row = judged(frame, CONTRACT).collect()[0]
    assert row["number"] == 0 and row["level"] is None
    assert row["reasons"] == ["amount: required"]


def test_a_header_is_compared_with_the_contract() -> None:
    names = list(CONTRACT.field_names)
    assert schema_differences(names[::-1], CONTRACT) == ""
    report = schema_differences([*names[1:], "extra", "kind"], CONTRACT)
    assert "lacks 'id'" in report and "has unknown 'extra'" in report and "repeats 'kind'" in report


def test_json_text_is_what_csv_would_carry() -> None:
    assert [text_of(value) for value in (None, "", 5, 5.5, True, "x")] == [None, None, "5", "5.5", "true", "x"]
    assert json.loads(text_of(1e300) or "") == 1e300
