"""Release's pure parts: a quarantined row is judged as if it landed today, and is released once."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from include.contracts.columns import judged
from include.contracts.contract import Contract
from include.spark_jobs.ingest_raw import STATUS, landing_file_rows, with_status
from include.spark_jobs.release_quarantine import Released, as_landed, recounted, with_reason
from tests.spark_jobs.test_ingest_raw import CONTRACT, DAY, OTHER_FACT, landed, landing_file

#: The mended contract: values below zero are allowed.
MENDED = dataclasses.replace(
    CONTRACT, version=4, fields=(*CONTRACT.fields[:2], dataclasses.replace(CONTRACT.fields[2], minimum=None))
)
QUARANTINE = "record string, reasons array<string>, landing_key string, landing_line bigint, landing_sha256 string, "
QUARANTINE += "contract_version int, ds string"
BELOW = "value: '-1' is below 0"


def row(id_: str, line: int, reasons: list[str], file: str = "a", **values: Any) -> tuple[Any, ...]:
    record = {"id": id_, "read_at": f"{DAY}T01:00:00Z", "value": "-1"} | values
    return (json.dumps(record), reasons, file, line, "sha", 3, DAY)


def quarantine(spark: SparkSession, *rows: tuple[Any, ...]) -> DataFrame:
    return spark.createDataFrame(list(rows), QUARANTINE)


def raw(spark: SparkSession, *facts: tuple[str, str, str, str, int, bool]) -> DataFrame:
    return judged(landed(spark, facts), CONTRACT).drop("reasons")


def statuses(rejected: DataFrame, there: DataFrame, contract: Contract) -> Mapping[tuple[str, int], str]:
    with with_status(as_landed(rejected, contract), there, contract) as rows:
        return {(r["landing_key"], r["landing_line"]): r[STATUS] for r in rows.collect()}


def test_what_passes_now_is_released_and_what_does_not_stays(spark: SparkSession) -> None:
    rejected = quarantine(
        spark,
        row("mended", 1, [BELOW]),
        row("still bad", 2, [BELOW], value="many"),
        row("twice", 3, [BELOW]),
        row("twice", 1, [BELOW], file="b"),
        row("twice", 2, [BELOW], file="b", value="-2"),
        row("known", 4, [BELOW], value="7"),
        row("known otherwise", 5, [OTHER_FACT], value="8"),
        row("released before", 6, [BELOW]),
        row("+", 7, ["row: has 4 values, the header has 3"], **{"+1": "x"}),
        row("short", 8, ["row: has 2 values, the header has 3", BELOW]),
        row("more", 9, ["row: has unknown fields more"], more="1"),
    )
    before = as_landed(quarantine(spark, row("released before", 6, [BELOW])), MENDED)
    there = raw(
        spark,
        ("known", "01:00:00", "7", "x", 1, False),
        ("known otherwise", "01:00:00", "9", "x", 2, False),
    ).unionByName(judged(before, MENDED).drop("reasons"), allowMissingColumns=True)
    assert statuses(rejected, there, MENDED) == {
        ("a", 1): "new",
        ("a", 2): "quarantined",
        ("a", 3): "new",
        ("b", 1): "duplicate",
        ("b", 2): "quarantined",
        ("a", 4): "duplicate",
        ("a", 5): "quarantined",
        ("a", 6): "known",
        ("a", 7): "quarantined",
        ("a", 8): "quarantined",
        ("a", 9): "quarantined",
    }
    assert set(statuses(rejected, there, CONTRACT).values()) == {"quarantined", "duplicate"}


@pytest.mark.parametrize("contract", [CONTRACT, MENDED])
def test_a_row_is_read_again_as_it_landed(spark: SparkSession, contract: Contract) -> None:
    rejected = quarantine(spark, row("ü", 1, [BELOW], value=None))
    (found,) = as_landed(rejected, contract).collect()
    assert (found["id"], found["value"], found["problem"]) == ("ü", None, None)
    assert (found["landing_key"], found["landing_line"], found["landing_sha256"], found["ds"]) == ("a", 1, "sha", DAY)


def test_a_field_that_the_contract_knows_by_now_is_no_problem_any_more(spark: SparkSession) -> None:
    extra = dataclasses.replace(CONTRACT.fields[0], name="more")
    rejected = quarantine(spark, row("x", 1, ["row: has unknown fields more"], more="1", value="1"))
    assert as_landed(rejected, CONTRACT).collect()[0]["problem"] == "row: has unknown fields more"
    wider = dataclasses.replace(CONTRACT, fields=(*CONTRACT.fields, extra))
    assert as_landed(rejected, wider).collect()[0]["problem"] is None


def test_rows_are_chosen_by_a_part_of_a_reason(spark: SparkSession) -> None:
    rejected = quarantine(spark, row("a", 1, [BELOW]), row("b", 2, ["id: required", "value: 100% odd"]))

    def lines(part: str) -> list[int]:
        return sorted(r["landing_line"] for r in with_reason(rejected, part).collect())

    assert (lines(""), lines("IS BELOW"), lines("100% odd"), lines("nothing")) == ([1, 2], [1], [2], [])


def test_files_are_counted_from_what_is_in_raw() -> None:
    counts = {"new": 5, "known": 0, "quarantined": 4, "duplicate": 1}
    file = landing_file("a.csv.gz", "1")
    (before,) = landing_file_rows([file], {file.key: counts}, "run", datetime(2013, 1, 3, tzinfo=UTC))
    (after,) = recounted([before], {(file.key,): 8})
    assert (after["rows"], after["ingested"], after["quarantined"], after["duplicate"]) == (10, 8, 1, 1)
    assert recounted([before], {(file.key,): 5}) == [before]


def test_the_log_says_what_would_be_and_what_was_released() -> None:
    rows = {("2013-01-02", "new"): 3, ("2013-01-02", "quarantined"): 1}
    assert Released(rows, True).lines() == [
        "2013-01-02: 3 rows pass now",
        "2013-01-02: 1 rows still break the contract",
        "3 rows would be released (dry run)",
    ]
    assert Released(rows, False).lines()[-1] == "3 rows released"
