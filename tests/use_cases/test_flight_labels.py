"""What counts as late, and which flights have a label at all."""

from pyspark.sql import SparkSession

from include.use_cases.flight_delay.labels import labels


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
    rows = {row["subject_id"]: (row["label"], row["outcome"]) for row in labels(facts).collect()}
    assert rows == {
        "punctual": (0, "on_time"),
        "at the limit": (0, "on_time"),
        "late": (1, "late"),
        "cancelled": (1, "cancelled"),
        "diverted": (1, "diverted"),
        "late and cancelled": (1, "late"),
    }
