"""What is known of the open days' messages already: by id in raw, by offset in the predictions table."""

import json
import re

import pytest
from pyspark.sql import DataFrame, SparkSession

from include.predictions.positions import Unread
from include.settings import KafkaSettings
from include.spark_jobs import open_day
from include.spark_jobs.open_day import known_ids, unlogged_predictions
from include.use_case import load_use_case


def plan_of(frame: DataFrame) -> str:
    """How Spark means to compute a frame."""
    return str(frame._jdf.queryExecution().executedPlan())


@pytest.mark.parametrize("most", [0, open_day.MOST_SENT])
def test_a_fact_that_raw_has_is_not_new(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(open_day, "MOST_SENT", most)
    raw = spark.createDataFrame([("AA1",), ("AA5",), ("UA3",), ("UA9",)], "id string")
    facts = spark.createDataFrame([("AA5", 1), ("AA6", 2), ("UA3", 3), ("UA3", 4)], "id string, offset int").persist()
    known = known_ids(raw, facts, "id")
    assert sorted(row["id"] for row in known.collect()) == ["AA5", "UA3"]
    assert [row["id"] for row in facts.join(known, "id", "left_anti").collect()] == ["AA6"]
    assert known_ids(raw, facts.where("false"), "id").count() == 0
    facts.unpersist()


def test_the_archive_is_not_shuffled_to_find_the_known_ids(spark: SparkSession) -> None:
    threshold = "spark.sql.autoBroadcastJoinThreshold"
    configured = spark.conf.get(threshold)
    spark.conf.set(threshold, "-1")  # else any frame of a test is small enough
    try:
        raw, facts = (spark.createDataFrame([("AA1",), ("UA3",)], "id string") for _ in range(2))
        plan = plan_of(facts.join(known_ids(raw, facts, "id"), "id", "left_anti"))
    finally:
        spark.conf.set(threshold, configured)
    assert plan.count("BroadcastHashJoin") == 2
    assert "Exchange hashpartitioning" not in plan


def test_answers_that_are_logged_are_left_out_and_earlier_ones_not_looked_at(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value(name: str) -> str:
        return json.dumps({"id": name, "model_id": "m", "probability": 0.5, "prediction_time": "2013-01-09T07:30:00Z"})

    parts = [Unread(0, 5, 8), Unread(1, 2, 4)]
    sent = [(value(f"{part.partition}-{n}"), part.partition, n) for part in parts for n in range(part.start, part.end)]
    messages = spark.createDataFrame(sent, "value string, partition int, offset bigint")
    monkeypatch.setattr(open_day, "read_topic", lambda *_: messages)
    there = [(0, 2), (0, 4), (0, 5), (0, 7), (1, 1), (1, 2)]
    logged = spark.createDataFrame(there, "kafka_partition int, kafka_offset bigint")
    use_case = load_use_case("flight_delay")
    kafka = KafkaSettings.from_environment({"KAFKA_BOOTSTRAP": "none:1"})
    found = unlogged_predictions(spark, use_case, kafka, parts, logged)
    assert found is not None
    assert sorted((row["id"], row["ds"]) for row in found.collect()) == [("0-6", "2013-01-09"), ("1-3", "2013-01-09")]
    assert re.search(r"kafka_offset#\d+L? >= 5\b", plan_of(found)), "Delta is told which offsets"
