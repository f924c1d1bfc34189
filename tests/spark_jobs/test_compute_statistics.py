"""What Spark counts for the statistics, and the rows that become of it, on counts made for it."""

import math
from collections.abc import Iterable
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
    labelled,
    share_rows,
    with_q_values,
)
from include.tables import FEATURE_TYPES, LABELS, Table, features_table
from include.use_case import UseCase, load_use_case

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


@pytest.fixture
def archive(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> tuple[UseCase, Spans]:
    """Features and labels of 64 days in the place of the lake's tables, and 62 of them closed."""
    use_case = load_use_case("template")
    features = use_case.features.features
    columns = ", ".join(f"`{feature.name}` {FEATURE_TYPES[feature.kind]}" for feature in features)
    rows, labels = [], []
    for day in range(64):
        ds = (FIRST + timedelta(days=day)).isoformat()
        for number in range(4):
            given = (str(number % 2) if f.kind == "categorical" else float(number + day // 30) for f in features)
            rows.append((f"{day}-{number}", ds, *given))
            labels.append((f"{day}-{number}", int(number == day % 3), ds))
    tables = {
        features_table(use_case).name: spark.createDataFrame(rows, f"subject_id string, ds string, {columns}").cache(),
        LABELS.name: spark.createDataFrame(labels[:-1], "subject_id string, label int, ds string").cache(),
    }
    closed = {(FIRST + timedelta(days=day)).isoformat() for day in range(62)}
    monkeypatch.setattr(job, "read_table", lambda _spark, _use_case, table: tables[table])
    monkeypatch.setattr(job.book, "closed_days", lambda *_: closed)
    monkeypatch.setattr(job, "shuffle_by_span", lambda *_: None)  # other tests have the same session
    return use_case, Spans(FIRST, FIRST + timedelta(days=61))


def test_no_more_is_kept_than_is_wanted(spark: SparkSession, archive: tuple[UseCase, Spans]) -> None:
    use_case, spans = archive
    found = labelled(spark, use_case, use_case.slices, spans.last, spans.last)
    assert set(found.columns) == {"subject_id", "ds", "label", *use_case.slices}
    assert {row["ds"] for row in found.collect()} == {spans.last.isoformat()}


def test_shares_are_of_the_archive_and_drift_of_all_features_of_two_months(
    spark: SparkSession, archive: tuple[UseCase, Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_case, spans = archive
    written: list[job.Row] = []

    def keep(frame: DataFrame, _use_case: str, table: Table, days: Iterable[date], _run_id: str) -> None:
        assert (table.name, list(days)) == ("statistics", [spans.last])
        written.extend(row.asDict() for row in frame.collect())

    monkeypatch.setattr(job, "replace_days", keep)
    job._compute(spark, use_case, "run")
    features = use_case.features.features
    everything = labelled(spark, use_case, [feature.name for feature in features], spans.first, spans.last).cache()
    expected: list[job.Row] = []
    for feature in use_case.slices:
        counts = counts_by_day(everything, feature)
        expected += share_rows(counts, feature, spans) + change_rows(counts, feature, spans)
    expected += drift_rows(everything, features, spans)
    stamp = {"run_id": "run", "ds": spans.last.isoformat()}
    assert written == [job.without_nan(row) | stamp for row in with_q_values(expected)]
    assert sum(row["rows"] for row in written if row["statistic"] == job.SHARE) == 62 * 4
    assert {row["rows"] for row in written if row["statistic"] == job.DRIFT} == {30 * 4}
