"""What counts as late, and which flights have a label at all."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.use_cases.flight_delay.labels import labels


def on_day(facts: Mapping[str, DataFrame], day: str) -> dict[str, DataFrame]:
    return {source: frame.withColumn("label_day", F.lit(day)) for source, frame in facts.items()}


def test_outcomes(spark: SparkSession) -> None:
    flights = ["punctual", "at the limit", "late", "cancelled", "diverted", "unknown", "late and cancelled"]
    facts = {
        "schedule": spark.createDataFrame([(flight,) for flight in flights], "id string"),
        "departures": spark.createDataFrame([("punctual",), ("at the limit",), ("late",), ("diverted",)], "id string"),
        "arrivals": spark.createDataFrame(
            [("punctual", -5), ("at the limit", 15), ("late", 16), ("late and cancelled", 90), ("unasked", 5)],
            "id string, arrival_delay bigint",
        ),
        "cancellations": spark.createDataFrame([("cancelled",), ("late and cancelled",)], "id string"),
    }
    rows = {row["subject_id"]: (row["label"], row["outcome"]) for row in labels(on_day(facts, "2013-01-01")).collect()}
    assert rows == {
        "punctual": (0, "on_time"),
        "at the limit": (0, "on_time"),
        "late": (1, "late"),
        "cancelled": (1, "cancelled"),
        "diverted": (1, "diverted"),
        "late and cancelled": (1, "late"),
    }


def test_a_fact_counts_only_for_the_days_that_it_is_given_for(spark: SparkSession) -> None:
    days, ids = "label_day string, id string", ["early", "late"]
    facts = {
        "schedule": spark.createDataFrame([("1", "early"), ("2", "late")], days),
        "departures": spark.createDataFrame([(day, flight) for day in "12" for flight in ids], days),
        "arrivals": spark.createDataFrame([("2", flight, 5) for flight in ids], f"{days}, arrival_delay bigint"),
        "cancellations": spark.createDataFrame([], days),
    }
    found = {(row["label_day"], row["subject_id"], row["outcome"]) for row in labels(facts).collect()}
    assert found == {("1", "early", "diverted"), ("2", "late", "on_time")}
