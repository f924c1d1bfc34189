"""Ingest's pure parts: what to do with files, how rows are read, and what becomes of each row."""

import dataclasses
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.contracts.columns import judged
from include.contracts.contract import Contract, Field, MomentRule
from include.landing import LandingFile
from include.spark_jobs.ingest_raw import (
    STATUS,
    LandingFileChanged,
    LandingHeaderWrong,
    check_headers,
    classified,
    contested_ids,
    known_facts,
    landing_file_rows,
    parse_objects,
    plan_files,
    with_landing_reasons,
    with_status,
)

CONTRACT = Contract(
    name="readings",
    version=3,
    comment="Readings",
    fields=(
        Field("id", "string", "id"),
        Field("read_at", "timestamp", "time"),
        Field("value", "integer", "value", minimum=0),
    ),
    key="id",
    event_time=MomentRule("read_at"),
    available_time=MomentRule("read_at"),
)
DAY = "2013-01-02"
OTHER_FACT = "id: another fact with this id was ingested before"


def landing_file(name: str, sha256: str, header: tuple[str, ...] | None = None, ds: str = DAY) -> LandingFile:
    return LandingFile("readings", ds, f"house/readings/ds={ds}/{name}", 10, sha256, header)


def known(file: LandingFile, **changes: str) -> dict[str, str]:
    return {"source": file.source, "ds": file.ds, "landing_key": file.key, "landing_sha256": file.sha256} | changes


def test_a_file_ingested_before_is_unchanged() -> None:
    file = landing_file("a.csv.gz", "1")
    plan = plan_files([file], [known(file)])
    assert plan.new == ()
    assert plan.unchanged == 1


def test_a_changed_file_names_itself_both_hashes_and_what_to_do() -> None:
    file = landing_file("a.csv.gz", "new")
    with pytest.raises(LandingFileChanged) as error:
        plan_files([file], [known(file, landing_sha256="old")])
    for words in ("s3://landing/house/readings/ds=2013-01-02/a.csv.gz", "SHA-256 new", "with old", "new file"):
        assert words in str(error.value)


def test_the_same_content_under_a_second_name_of_the_day_is_repeated() -> None:
    first, second = landing_file("a.csv.gz", "1"), landing_file("b.csv.gz", "1")
    other_day = landing_file("a.csv.gz", "1", ds="2013-01-03")
    assert plan_files([second, first, other_day], []).repeated == {second.key}
    assert plan_files([second], [known(first)]).repeated == {second.key}
    assert plan_files([second], [known(first)], {first.key}).repeated == set(), "a withdrawn file's content counts anew"
    with pytest.raises(LandingFileChanged):
        plan_files([landing_file("a.csv.gz", "2")], [known(first)], {first.key})


def test_a_wrong_header_names_the_file_and_the_fields() -> None:
    file = landing_file("a.csv.gz", "1", ("id", "read_at", "valeu"))
    with pytest.raises(LandingHeaderWrong, match=r"a\.csv\.gz: .*'value'.*'valeu'"):
        check_headers([file], {"readings": CONTRACT})
    check_headers([landing_file("b.csv.gz", "2", ("value", "id", "read_at"))], {"readings": CONTRACT})


def test_an_empty_file_has_no_header_to_judge() -> None:
    check_headers([landing_file("a.csv.gz", "1", ()), landing_file("a.jsonl.gz", "2", None)], {"readings": CONTRACT})


def test_a_worker_reads_objects_into_numbered_rows() -> None:
    import pyarrow as pa

    content = gzip.compress(b'id,read_at,value\na,"2013-01-02\nT",1\n\nb,,2,3\n')
    batch = pa.RecordBatch.from_pydict({"path": ["s3a://landing/k.csv.gz"], "content": [content]})
    rows = [row for found in parse_objects([batch], CONTRACT.field_names) for row in found.to_pylist()]
    assert [(row["id"], row["landing_key"], row["landing_line"]) for row in rows] == [
        ("a", "k.csv.gz", 1),
        ("b", "k.csv.gz", 2),
    ]
    assert rows[0]["problem"] is None
    assert rows[1]["problem"] == "row: has 4 values, the header has 3"
    assert json.loads(rows[1]["record"]) == {"id": "b", "read_at": None, "value": "2", "+1": "3"}


def test_a_json_field_outside_the_contract_is_a_problem() -> None:
    import pyarrow as pa

    content = gzip.compress(b'{"id": "a", "read_at": "t", "value": 1, "more": true}\n')
    batch = pa.RecordBatch.from_pydict({"path": ["s3a://landing/k.jsonl.gz"], "content": [content]})
    (row,) = next(parse_objects([batch], CONTRACT.field_names)).to_pylist()
    assert row["value"] == "1"
    assert row["problem"] == "row: has unknown fields more"


def test_landing_file_rows_add_up_and_know_empty_files() -> None:
    full, empty = landing_file("a.csv.gz", "1"), landing_file("b.csv.gz", "2")
    counts = {full.key: {"new": 5, "known": 1, "quarantined": 2, "duplicate": 3}}
    rows = landing_file_rows([full, empty], counts, "run", datetime(2013, 1, 3, tzinfo=UTC))
    assert [(r["rows"], r["ingested"], r["quarantined"], r["duplicate"]) for r in rows] == [(11, 6, 2, 3), (0, 0, 0, 0)]


LANDED = "id string, read_at string, value string, record string, problem string, landing_key string, "
LANDED += "landing_line bigint, landing_sha256 string, ds string, repeated boolean"
Row = tuple[str, str, str, str, int, bool]


def landed(spark: SparkSession, rows: Sequence[Row], problem: str | None = None) -> DataFrame:
    full = [(i, f"{DAY}T{t}Z", v, "{}", problem, file, line, "sha", DAY, rep) for i, t, v, file, line, rep in rows]
    return spark.createDataFrame(full, LANDED)


def judge(
    spark: SparkSession, rows: Sequence[Row], raw: Sequence[Row] = ()
) -> dict[tuple[str, int], tuple[str, list[str]]]:
    before = judged(landed(spark, raw), CONTRACT).drop("reasons")
    with with_status(landed(spark, rows), before, CONTRACT) as found:
        return {(r["landing_key"], r["landing_line"]): (r[STATUS], list(r["reasons"])) for r in found.collect()}


def test_a_fact_keeps_fields_of_common_names(spark: SparkSession) -> None:
    """Whatever ingest calls its own columns: ``append_rows`` takes a raw table's columns by name."""
    names = ("status", "good", "rank", "digest", "count")
    common = dataclasses.replace(CONTRACT, fields=(*CONTRACT.fields, *(Field(name, "string", "") for name in names)))

    def rows(*values: str) -> DataFrame:
        facts = landed(spark, [("a", "01:00:00", "1", "f", 1, False)])
        return facts.withColumns({name: F.lit(value) for name, value in zip(names, values, strict=True)})

    before = judged(rows("ok", "yes", "2", "d", "3"), common).drop("reasons").withColumn("landing_key", F.lit("before"))
    for values, status in ((("ok", "yes", "2", "d", "3"), "duplicate"), (("ok", "yes", "2", "d", "4"), "quarantined")):
        with with_status(rows(*values), before, common) as found:
            (row,) = found.collect()
        assert (row[STATUS], *(row[name] for name in names)) == (status, *values)


def test_each_row_gets_its_status(spark: SparkSession) -> None:
    rows = [
        ("first", "01:00:00", "1", "a", 1, False),
        ("first", "01:00:00", "1", "a", 2, False),  # the same again
        ("first", "01:00:00", "2", "b", 1, False),  # another fact with its id
        ("bad", "01:00:00", "-1", "a", 3, False),
        ("bad", "01:00:00", "1", "b", 2, False),  # a bad row does not take the id
        ("old", "02:00:00", "7", "b", 3, False),
        ("old", "02:00:00", "8", "b", 4, False),
        ("again", "03:00:00", "9", "b", 5, False),
        ("whole file again", "03:00:00", "9", "c", 1, True),
    ]
    raw = [("old", "02:00:00", "7", "before", 1, False), ("again", "03:00:00", "9", "b", 5, False)]
    found = judge(spark, rows, raw)
    assert {at: status for at, (status, _) in found.items()} == {
        ("a", 1): "new",
        ("a", 2): "duplicate",
        ("b", 1): "quarantined",
        ("a", 3): "quarantined",
        ("b", 2): "new",
        ("b", 3): "duplicate",
        ("b", 4): "quarantined",
        ("b", 5): "known",
        ("c", 1): "duplicate",
    }
    assert found[("b", 1)][1] == found[("b", 4)][1] == [OTHER_FACT]
    assert found[("a", 3)][1] == ["value: '-1' is below 0"]
    assert found[("a", 1)][1] == []


def test_an_id_is_contested_that_two_rows_claim_or_history_holds(spark: SparkSession) -> None:
    rows = landed(spark, [(n, "05:00:00", "2", "now", 1, False) for n in ("new", "twice", "twice", "old", "gone")])
    assert contests(rows, history(spark, "old", "other")) == {("twice", None), ("old", "2013-01-01")}
    assert contests(rows.where("id = 'new'"), history(spark, "old")) == set()


def contests(rows: DataFrame, raw: DataFrame) -> set[tuple[str, str | None]]:
    return {(row["id"], row["ds"]) for row in contested_ids(rows, raw, CONTRACT).collect()}


def history(spark: SparkSession, *ids: str) -> DataFrame:
    """Raw facts, the first of them of 2013-01-01, the second of the day after, and so on."""
    rows = [(id_, "01:00:00", "1", "before", n, False) for n, id_ in enumerate(ids, start=1)]
    facts = judged(landed(spark, rows), CONTRACT).drop("reasons")
    return facts.withColumn("ds", F.format_string("2013-01-%02d", "landing_line"))


def test_only_contested_facts_of_their_days_are_digested(spark: SparkSession) -> None:
    raw = history(spark, "a", "b", "c")
    contested = contested_ids(landed(spark, [(n, "05:00:00", "2", "now", 1, False) for n in "bx"]), raw, CONTRACT)
    assert [row["id"] for row in known_facts(raw, contested, ["2013-01-02"], CONTRACT).collect()] == ["b"]
    assert known_facts(raw, contested, ["2013-01-01"], CONTRACT).collect() == []


def test_where_no_id_is_contested_the_history_is_not_opened(spark: SparkSession) -> None:
    rows = with_landing_reasons(judged(landed(spark, [("x", "05:00:00", "2", "now", 1, False)]), CONTRACT))
    nobody = contested_ids(rows, history(spark, "a"), CONTRACT)
    (row,) = classified(
        rows, nobody, history(spark, "a").where(F.raise_error(F.lit("opened")).cast("boolean")), CONTRACT
    ).collect()
    assert row[STATUS] == "new"


def test_after_its_new_rows_were_appended_nothing_else_has_changed(spark: SparkSession) -> None:
    rows = [
        ("first", "01:00:00", "1", "a", 1, False),
        ("first", "01:00:00", "1", "a", 2, False),
        ("first", "01:00:00", "2", "b", 1, False),
        ("bad", "01:00:00", "-1", "a", 3, False),
        ("alone", "01:00:00", "1", "b", 2, False),
    ]
    at_first = judge(spark, rows)
    new = [row for row in rows if at_first[row[3], row[4]][0] == "new"]
    assert judge(spark, rows, new) == {
        at: ("known" if status == "new" else status, reasons) for at, (status, reasons) in at_first.items()
    }


def test_a_fact_of_another_day_is_quarantined(spark: SparkSession) -> None:
    late = dataclasses.replace(CONTRACT, available_time=MomentRule("read_at", plus_minutes=60))
    rows = judged(landed(spark, [("x", "23:30:00", "1", "a", 1, False)]), late)
    (row,) = with_landing_reasons(rows).collect()
    assert row["reasons"] == ["row: available on 2013-01-03, landed in 2013-01-02"]


def test_a_row_that_is_not_tabular_is_quarantined(spark: SparkSession) -> None:
    rows = judged(landed(spark, [("x", "23:30:00", "1", "a", 1, False)], problem="row: is odd"), CONTRACT)
    (row,) = with_landing_reasons(rows).collect()
    assert row["reasons"] == ["row: is odd"]
