"""Into how many parts the work on a span of days is cut; which columns Delta knows the values of."""

import pytest
from pyspark.sql import SparkSession

from include.spark_jobs.catalog import partitions_of, shuffle_by_span
from include.spark_jobs.session import SHUFFLE_PARTITIONS
from include.tables import predictions_table
from include.use_case import load_use_case


@pytest.mark.parametrize(("days", "parts"), [(1, 1), (3, 3), (30, 4), (366, 46)])
def test_a_part_has_no_more_days_in_a_longer_span(days: int, parts: int) -> None:
    assert partitions_of(days) == parts


def test_a_longer_span_is_shuffled_into_more_parts_and_the_next_short_one_is_not(spark: SparkSession) -> None:
    configured = spark.conf.get(SHUFFLE_PARTITIONS)
    shuffle_by_span(spark, 366)
    assert spark.conf.get(SHUFFLE_PARTITIONS) == "46"
    shuffle_by_span(spark, 1)
    assert spark.conf.get(SHUFFLE_PARTITIONS) == configured == "2"


@pytest.mark.parametrize("name", ["flight_delay", "bike_share"])
def test_files_of_predictions_can_be_skipped_by_their_offsets(name: str) -> None:
    counted = [column.name for column in predictions_table(load_use_case(name)).columns][:32]
    assert {"kafka_partition", "kafka_offset"} <= set(counted)
