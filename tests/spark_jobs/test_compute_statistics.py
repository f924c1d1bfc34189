"""What Spark counts for the statistics, and the rows that become of it, on counts made for it."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.features.spec import Feature
from include.spark_jobs import compute_statistics as job
from include.spark_jobs.compute_statistics import (
    MONTH,
    Spans,
    change_rows,
    counts_by_day,
    drift_rows,
    share_rows,
    with_q_values,
)
from include.use_case import load_use_case

FIRST = date(2013, 1, 1)
SPANS = Spans(FIRST, FIRST + timedelta(days=59))
KIND, SIZE = Feature("kind", "categorical", "Kind"), Feature("size", "numeric", "Size")


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """60 days: of kind a 4 of 10 are positive, of b 1 of 10, and 6 of 10 in the second month; sizes move by 5."""
    found = []
    for day in range(60):
        for number in range(10):
            size = float(number + (5 if day >= 30 else 0)) if number else None
            found.append(("a", size, int(number < 4 - day % 2), (FIRST + timedelta(days=day)).isoformat()))
            positive = number < (6 if day >= 30 else 1) + day % 2
            found.append(("b", 7.0, int(positive), (FIRST + timedelta(days=day)).isoformat()))
    return spark.createDataFrame(found, "kind string, size double, label int, ds string").cache()


def test_spans() -> None:
    assert SPANS.month == (date(2013, 1, 31), date(2013, 3, 1))
    assert SPANS.before == (FIRST, date(2013, 1, 30))
    assert Spans(FIRST, FIRST).before is None


@given(st.integers(min_value=1, max_value=200))
def test_months_are_of_equal_length_and_meet(days: int) -> None:
    spans = Spans(FIRST, FIRST + timedelta(days=days))
    assert spans.before is not None
    (first, end), (begin, last) = spans.before, spans.month
    assert first >= spans.first and begin == end + timedelta(days=1) and last == spans.last
    assert last - begin == end - first == timedelta(days=min(MONTH, (days + 1) // 2) - 1)


def test_counts_are_by_value_and_day(rows: DataFrame) -> None:
    counts = counts_by_day(rows, "kind")
    assert len(counts.days) == 60
    assert set(counts.rows["a"]) == {10.0}
    assert list(counts.positives["a"][:2]) == [4.0, 3.0]
    assert set(counts_by_day(rows, "size").rows) >= {"(none)", "7", "13"}
    codes = rows.withColumn("code", F.when(F.col("kind") == "a", "07").otherwise("7"))
    assert set(counts_by_day(codes, "code").rows) == {"07", "7"}, "a text is no number"


def test_a_value_is_compared_with_all_others_and_with_the_month_before(rows: DataFrame) -> None:
    counts = counts_by_day(rows, "kind")
    share = {row["value"]: row for row in with_q_values(share_rows(counts, "kind", SPANS))}
    assert share["a"]["share"] == pytest.approx(0.35)
    assert share["a"]["base_share"] == share["b"]["share"] == pytest.approx(0.40)
    assert share["a"]["difference"] == -share["b"]["difference"]
    assert share["a"]["share_low"] < 0.35 < share["a"]["share_high"]
    change = {row["value"]: row for row in with_q_values(change_rows(counts, "kind", SPANS))}
    assert change["a"]["difference"] == pytest.approx(0.0) and change["a"]["q_value"] > 0.5
    assert change["b"]["difference"] == pytest.approx(0.5) and change["b"]["q_value"] < 0.001
    assert change["b"]["base_to_ds"] == "2013-01-30" and change["b"]["from_ds"] == "2013-01-31"


def test_a_feature_that_has_moved_has_drifted(rows: DataFrame) -> None:
    found = {row["feature"]: row for row in drift_rows(rows.where("kind = 'a'"), [KIND, SIZE], SPANS)}
    assert found["kind"]["psi"] == pytest.approx(0.0, abs=1e-9)
    assert found["size"]["psi"] > 0.25
    assert found["size"]["rows"] == 300
    assert not math.isnan(found["size"]["psi"])
    assert drift_rows(rows, [SIZE], Spans(FIRST, FIRST)) == []
    none = drift_rows(rows.where("false"), [KIND, SIZE], SPANS)
    assert [(row["rows"], math.isnan(row["psi"])) for row in none] == [(0, True)] * 2
    assert np.isfinite(found["size"]["psi"])


def test_labels_that_were_closed_while_it_computed_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def compute_once(*_: object) -> int:
        rounds.append(1)
        return len(rounds)

    def closed_in_the_first_round(*_: object) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1 if len(rounds) == 1 else -1)

    monkeypatch.setattr(job, "create_tables", lambda *_: None)
    monkeypatch.setattr(job, "_compute", compute_once)
    monkeypatch.setattr(job.book, "last_closed", closed_in_the_first_round)
    assert job.compute(cast(SparkSession, None), load_use_case("flight_delay"), "run") == 2
