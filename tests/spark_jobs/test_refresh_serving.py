"""Refresh's pure parts: the recent days, DDL, the one statement that swaps, times as text."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import cast

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.predictions.positions import Unread
from include.spark_jobs.open_day import OpenSource, once, to_read
from include.spark_jobs.refresh_serving import (
    NothingToServe,
    complete_through,
    few_buckets,
    identifier,
    mysql_ddl,
    newest_days,
    prediction_stats,
    recent_predictions,
    recent_span,
    stamped,
    swap_statement,
    view_ddl,
    with_open_facts,
    with_text_times,
    with_thresholds,
)
from include.target import BINARY, COUNT
from include.use_case import load_use_case

NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)


def test_recent_days_end_with_the_newest_closed_day() -> None:
    span = recent_span({"2013-01-08", "2013-01-09"}, 7, NOW, "run")
    assert (span.first, span.last) == (date(2013, 1, 3), date(2013, 1, 9))
    assert span.complete_through == datetime(2013, 1, 10, tzinfo=UTC)
    with pytest.raises(NothingToServe):
        recent_span(set(), 7, NOW, "run")


def test_a_day_behind_a_gap_is_open_and_a_gap_before_the_recent_days_is_none() -> None:
    closed = {"2012-12-31", "2013-01-06", "2013-01-07", "2013-01-09"}
    assert recent_span(closed, 4, NOW, "run").last == date(2013, 1, 7)
    assert recent_span(closed, 2, NOW, "run").last == date(2013, 1, 9)


def test_retention_is_a_setting() -> None:
    assert load_use_case("flight_delay", {"LAMBDA_DL_RECENT_DAYS": "30"}).serving.recent_days == 30
    with pytest.raises(ValueError, match="LAMBDA_DL_RECENT_DAYS is '0'"):
        load_use_case("flight_delay", {"LAMBDA_DL_RECENT_DAYS": "0"})


def test_a_source_that_says_nothing_more_takes_nothing_back() -> None:
    span = recent_span({"2013-01-08", "2013-01-09"}, 7, NOW, "run")
    known, seen = (datetime(2013, 1, 10, hour, tzinfo=UTC) for hour in (8, 9))
    silent, later = (OpenSource(cast(DataFrame, None), {}, when) for when in (None, seen))
    assert complete_through(span, {"a": silent, "b": later}, span.complete_through) == span.complete_through
    assert complete_through(span, {"a": silent, "b": later}, known) == known
    assert complete_through(span, {"a": later, "b": later}, known) == seen


def test_a_view_joins_the_closed_days_with_the_open_ones() -> None:
    assert view_ddl("recent_events") == (
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW `events_now` AS "
        "SELECT * FROM `recent_events` UNION ALL SELECT * FROM `recent_events_open`"
    )


def test_a_topic_is_read_from_where_the_last_refresh_needed_it_and_anew_when_it_was_made_anew() -> None:
    ends = {0: (0, 10), 1: (5, 20), 2: (0, 3), 3: (0, 0)}
    assert to_read(ends, {0: 4, 1: 2, 2: 9}) == [Unread(0, 4, 10), Unread(1, 5, 20), Unread(2, 0, 3)]


def test_a_fact_of_the_open_day_counts_once_and_the_first_time(spark: SparkSession) -> None:
    contract = load_use_case("flight_delay").source("weather")
    rows = [("a", 0, 7, "second"), ("a", 0, 3, "first"), ("b", 0, 1, "again"), ("b", -1, 0, "in the lake")]
    facts = spark.createDataFrame(rows, "id string, partition int, offset bigint, which string")
    assert {row["id"]: row["which"] for row in once(facts, contract).collect()} == {"a": "first", "b": "in the lake"}


def test_the_last_hour_of_a_closed_day_is_counted_when_its_fact_comes(spark: SparkSession) -> None:
    """A count of 23:00 to 24:00 is known at midnight: it is a fact of the open day, and speaks of the closed one."""
    use_case = load_use_case("bike_share")
    contract = use_case.source("hires")
    day, hour = datetime(2011, 2, 6, tzinfo=UTC), timedelta(hours=1)
    types = {"starts_at": "timestamp", "total": "int", "casual": "int"}
    schema = ", ".join(f"{name} {types.get(name, 'string')}" for name in contract.field_names)

    def facts(*hours: int) -> DataFrame:
        rows = []
        for number in hours:
            given = {"starts_at": day + number * hour, "total": 10, "casual": 4, "city": "Washington"}
            known = day + (number + 1) * hour
            rows.append((*(given.get(name) for name in contract.field_names), known, known, f"{known:%Y-%m-%d}"))
        return spark.createDataFrame(rows, f"{schema}, available_at timestamp, moment timestamp, ds string")

    found = with_open_facts(facts(21, 22), OpenSource(facts(23), {}, None), contract)
    (closed,) = use_case.serving.statistics["daily_stats"]({"hires": found}).collect()
    assert (closed["ds"], closed["hired"], closed["hours_counted"]) == ("2011-02-06", 30, 3)


def test_all_tables_are_swapped_by_one_statement() -> None:
    assert swap_statement(["a", "b"], {"a", "x"}) == (
        "RENAME TABLE `a` TO `a__old`, `a__next` TO `a`, `b__next` TO `b`"
    )


@pytest.mark.parametrize("name", ["a`b", "a b", "", "a;b"])
def test_only_plain_names_are_identifiers(name: str) -> None:
    with pytest.raises(ValueError, match="plain SQL name"):
        identifier(name)


def test_tables_follow_from_the_columns_and_times_do_not_depend_on_a_time_zone(spark: SparkSession) -> None:
    span = recent_span({"2013-01-09"}, 7, NOW, "run")
    frame = stamped(spark.createDataFrame([("x", 1, "2013-01-09")], "id string, n bigint, ds string"), span)
    ddl = mysql_ddl("t__next", frame.schema)
    assert ddl.startswith(
        "CREATE TABLE `t__next` (`id` VARCHAR(255), `n` BIGINT, `ds` VARCHAR(255), `complete_through` D"
    )
    assert "KEY (`ds`)" in ddl
    row = with_text_times(frame).first()
    assert row is not None
    assert row["complete_through"] == "2013-01-10 00:00:00.000000"
    assert row["as_of"] == "2026-11-23 08:30:00.000000"
    assert (row["run_id"], row["layer"]) == ("run", "batch")


@pytest.mark.parametrize("kind", ["date", "decimal(10,2)"])
def test_a_column_of_a_type_without_a_place_in_mysql_is_named(spark: SparkSession, kind: str) -> None:
    schema = spark.createDataFrame([], f"ds string, paid {kind}").schema
    with pytest.raises(ValueError, match=rf"^table daily_stats: column paid is a {re.escape(kind)},.* one of string, "):
        mysql_ddl("daily_stats__next", schema)


def test_newest_days_are_those_the_table_has(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("2013-01-01",), ("2013-01-05",), ("2013-01-06",)], "ds string")
    assert sorted(row["ds"] for row in newest_days(frame, 2).collect()) == ["2013-01-05", "2013-01-06"]
    assert newest_days(frame.where("false"), 2).count() == 0


def test_the_scorecard_has_each_dimensions_threshold(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("validity", 0.9), ("uniqueness", 1.0)], "dimension string, value double")
    found = with_thresholds(frame, {"validity": 0.95, "accuracy": 0.5}).collect()
    assert {row["dimension"]: row["threshold"] for row in found} == {"validity": 0.95, "uniqueness": None}
    assert with_thresholds(frame, {}).where("threshold IS NULL").count() == 2


def test_predictions_are_counted_by_day_model_and_step_of_probability(spark: SparkSession) -> None:
    rows = [
        ("a", 0.19, True, 1),
        ("a", 0.1, False, 0),
        ("a", 0.12, False, None),
        ("a", 1.0, False, 1),
        ("b", 0.0, False, None),
    ]
    served = spark.createDataFrame(
        [("2013-01-09", *row) for row in rows],
        "ds string, model_id string, probability double, degraded boolean, label int",
    )
    found = {(row["model_id"], row["probability_from"]): row for row in prediction_stats(served, BINARY).collect()}
    assert set(found) == {("a", 0.1), ("a", 0.9), ("b", 0.0)}
    low = found["a", 0.1]
    assert (low["predictions"], low["degraded"], low["labelled"], low["positives"]) == (3, 1, 2, 1)
    assert low["mean_probability"] == pytest.approx(0.41 / 3)
    assert low["mean_probability_labelled"] == pytest.approx(0.145)
    unknown = found["b", 0.0]
    assert (unknown["labelled"], unknown["positives"], unknown["mean_probability_labelled"]) == (0, 0, None)


def test_predicted_counts_are_counted_by_steps_that_widen(spark: SparkSession) -> None:
    rows = [(0.4, 0), (4.2, 5), (8.9, None), (9.0, 12), (399.0, 380), (400.0, None)]
    served = spark.createDataFrame(
        [("2013-01-09", "a", value, False, label) for value, label in rows],
        "ds string, model_id string, value double, degraded boolean, label int",
    )
    found = {row["value_from"]: row for row in prediction_stats(served, COUNT).collect()}
    assert {step: row["predictions"] for step, row in found.items()} == {0: 1, 4: 2, 9: 1, 361: 1, 400: 1}
    assert (found[4]["labelled"], found[4]["positives"], found[400]["positives"]) == (1, 5, 0)
    assert (found[4]["mean_value"], found[4]["mean_value_labelled"]) == (pytest.approx(6.55), 4.2)


def test_of_buckets_the_greatest_of_a_day_stays_though_its_container_began_anew(spark: SparkSession) -> None:
    bucket, total = 'answer_seconds_bucket{le="0.1"}', "answer_seconds_count"
    rows = [(bucket, 1, 5.0), (bucket, 2, 9.0), (bucket, 3, 0.0), (bucket, 4, 2.0), (total, 1, 5.0), (total, 3, 0.0)]
    metrics = spark.createDataFrame(
        [("2013-01-09", "box-1", name, hour, value) for name, hour, value in rows],
        "ds string, instance string, name string, time int, value double",
    )
    kept = {(row["name"], row["time"]) for row in few_buckets(metrics).collect()}
    assert kept == {(bucket, 2), (total, 1), (total, 3)}


def test_recent_predictions_have_their_label_and_what_they_could_see(spark: SparkSession) -> None:
    span = recent_span({"2013-01-09"}, 2, NOW, "run")
    at = datetime(2013, 1, 9, 7, 30, tzinfo=UTC)
    seen = {"readings": datetime(2013, 1, 9, 7, 29, tzinfo=UTC), "visits": None}
    rows = [(name, "m", 0.5, at, NOW, False, seen, ds) for name, ds in [("old", "2013-01-07"), ("known", "2013-01-08")]]
    rows += [("open", "m", 0.5, at, NOW, True, seen, "2013-01-10")]
    predictions = spark.createDataFrame(
        rows,
        "id string, model_id string, probability double, prediction_time timestamp, predicted_at timestamp, "
        "degraded boolean, as_of map<string,timestamp>, ds string",
    )
    labels = spark.createDataFrame(
        [("known", 1, "2013-01-07"), ("old", 0, "2013-01-07")], "subject_id string, label int, ds string"
    )
    flights = load_use_case("flight_delay")
    served = recent_predictions(predictions, labels, flights, span)
    found = {row["id"]: row for row in served.collect()}
    assert {name: row["label"] for name, row in found.items()} == {"known": 1, "open": None}
    longer_ago = replace(flights, prediction_lead_minutes=2 * 1440, label_horizon_days=2)
    predicted_later = labels.withColumn("ds", F.lit("2013-01-06"))
    known = {r["id"]: r["label"] for r in recent_predictions(predictions, predicted_later, longer_ago, span).collect()}
    assert known == {"known": 1, "open": None}
    assert json.loads(found["open"]["as_of_sources"]) == {"readings": "2013-01-09T07:29:00Z", "visits": None}
    assert mysql_ddl("t", served.schema).count("TEXT") == 1
