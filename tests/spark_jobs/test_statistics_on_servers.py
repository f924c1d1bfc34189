"""The statistics of three real days against the tables they come from, and the views for common questions."""

import math
from collections import Counter

import pytest

from include import lake
from include.spark_jobs.catalog import VIEWS
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import DAYS, Workshop

pytestmark = pytest.mark.integration

LAST_CLOSED = DAYS[-2].isoformat()


@pytest.fixture(scope="module")
def computed(window: Workshop) -> Workshop:
    assert window.do(steps.compute_statistics, window.window, "statistics 1") > 0
    return window


def test_shares_are_those_of_the_labels(computed: Workshop) -> None:
    name = computed.window
    labels = {(row["subject_id"], row["ds"]): row["label"] for row in lake.read_rows(name, "labels")}
    features = lake.read_rows(name, "features", ["subject_id", "ds", "carrier"])
    rows = Counter(row["carrier"] for row in features if (row["subject_id"], row["ds"]) in labels)
    late: Counter[str] = Counter()
    for row in features:
        late[row["carrier"]] += labels.get((row["subject_id"], row["ds"]), 0)
    shown = lake.read_rows(name, "statistics", ds=[LAST_CLOSED])
    shares = {row["value"]: row for row in shown if (row["statistic"], row["feature"]) == ("share", "carrier")}
    assert {value: (row["rows"], row["positives"]) for value, row in shares.items()} == {
        carrier: (count, late[carrier]) for carrier, count in rows.items()
    }
    assert all(row["share_low"] <= row["share"] <= row["share_high"] for row in shares.values())
    # Two days say nothing about how days differ: no test, and null rather than NaN.
    assert all(row["p_value"] is None and not math.isnan(row["difference"]) for row in shares.values())


def test_a_repeat_replaces_its_day(computed: Workshop) -> None:
    before = lake.rows_by_day(computed.window, "statistics")
    computed.do(steps.compute_statistics, computed.window, "statistics 2")
    assert lake.rows_by_day(computed.window, "statistics") == before
    assert {row["run_id"] for row in lake.read_rows(computed.window, "statistics", ["run_id"])} == {"statistics 2"}


def test_every_view_answers(computed: Workshop) -> None:
    counts = computed.do(steps.rows_of_views, computed.window)
    assert set(counts) == {path.stem for path in VIEWS.glob("*.sql")}
    labelled = {row["ds"] for row in lake.read_rows(computed.window, "labels", ["ds"])}
    assert counts["outcomes_by_day"] == len(labelled) > 0
    assert counts["landed_by_day"] == len(DAYS) * len(steps.BASE.sources)
    assert counts["statistics_now"] > 0


def test_a_view_whose_text_has_changed_is_made_anew(computed: Workshop) -> None:
    before, after = computed.do(steps.columns_of_an_old_view, computed.window)
    assert before == ["old"]
    assert {"landing_key", "retracted_at"} <= set(after)


def test_a_field_declared_later_is_a_column_that_older_rows_leave_empty(computed: Workshop) -> None:
    before, after, values = computed.do(steps.columns_of_a_grown_table, computed.window)
    assert after == [*before, "declared_later"]
    assert values == ["None"]
