"""The scorecard of the real facts of 2013: what the thresholds refuse is a fault, never an ordinary day."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from include.quality import shortfalls
from include.spark_jobs.assess_quality import fact_shares
from include.use_case import load_use_case
from include.use_cases.flight_delay import upstream

USE_CASE = load_use_case("flight_delay")


@pytest.fixture(scope="module")
def year(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataFrame]:
    """All facts by source."""
    folder = tmp_path_factory.mktemp("facts")
    facts = upstream.all_facts(upstream.read_upstream(upstream.data_folder()))
    return {source: written(spark, table, folder / source) for source, table in facts.items()}


def written(spark: SparkSession, table: pd.DataFrame, path: Path) -> DataFrame:
    table.to_parquet(path, index=False, coerce_timestamps="us")
    return spark.read.parquet(str(path))


def test_every_day_of_the_year_can_be_trained_on(year: dict[str, DataFrame]) -> None:
    shares = fact_shares(USE_CASE, year, year[USE_CASE.subject_source]).collect()
    now = datetime.now(UTC)
    rows = [{**share.asDict(), "time": now} for share in shares]
    assert {(row["source"], row["dimension"]) for row in rows} > {("cancellations", "completeness")}
    days = {f"{day:%Y-%m-%d}" for day in pd.date_range("2013-01-01", "2013-12-31")}
    assert {row["ds"] for row in rows} >= days
    assert shortfalls(rows, USE_CASE.quality.thresholds) == []
