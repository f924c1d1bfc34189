"""Live quality: figures by day and hour, one class only, and identities that follow from what was found."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from include.metrics import metric_row
from include.predictions.live_quality import day_figures, figures, figures_schema, quality_messages
from include.tables import model_quality_table
from include.target import BINARY, COUNT
from include.training.metrics import quality

NINE, TEN = (datetime(2013, 1, 2, hour, tzinfo=UTC) for hour in (9, 10))


def answers(rows: list[tuple[str, datetime, int, float]]) -> pa.Table:
    names = ("model_id", "hour", "label", "answer")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) | {"ds": "2013-01-02"} for row in rows])
    return table.set_column(1, "hour", table["hour"].cast(pa.timestamp("us", tz="UTC")))


ROWS = [("m", NINE, 1, 0.9), ("m", NINE, 0, 0.2), ("m", TEN, 0, 0.6), ("m", TEN, 0, 0.1), ("n", NINE, 1, 0.4)]


def test_the_figures_are_those_of_training() -> None:
    rng = np.random.default_rng(7)
    labels, probabilities = rng.integers(0, 2, 200), rng.random(200)
    assert figures(BINARY, labels, probabilities) == quality(BINARY, labels, probabilities).to_json()


def test_one_row_a_model_and_day_and_one_an_hour() -> None:
    table = day_figures(answers(ROWS), BINARY)
    assert table.schema == figures_schema(BINARY)
    found = {(row["model_id"], row["hour"]): (row["rows"], row["auc"]) for row in table.to_pylist()}
    assert found == {
        ("m", None): (4, 1.0),
        ("m", NINE): (2, 1.0),
        ("m", TEN): (2, None),
        ("n", None): (1, None),
        ("n", NINE): (1, None),
    }
    (ten,) = [row for row in table.to_pylist() if row["hour"] == TEN]
    assert ten["brier"] == pytest.approx((0.36 + 0.01) / 2)
    assert ten["log_loss"] == pytest.approx(-(np.log(0.4) + np.log(0.9)) / 2)


def row(**changes: Any) -> dict[str, Any]:
    values = {"ds": "2013-01-02", "model_id": "m", "hour": None, "rows": 4, "auc": None, "log_loss": 0.5, "brier": 0.2}
    return values | {"calibration_error": 0.1} | changes


def sent(**changes: Any) -> tuple[str, dict[str, Any]]:
    ((key, message),) = quality_messages("house", BINARY, "run", "2013-01-04T00:00:00Z", [row(**changes)])
    return key, dict(message)


def test_a_message_is_a_row_of_model_quality() -> None:
    key, message = sent(hour="2013-01-02T09:00:00Z")
    table, found = metric_row(message, "house", BINARY)
    assert table == model_quality_table(BINARY)
    assert key == found["metric_id"]
    assert (found["role"], found["split"], found["from_ds"], found["to_ds"]) == (
        "live",
        "live",
        found["ds"],
        found["ds"],
    )
    assert (found["hour"], found["auc"], found["rows"]) == (NINE, None, 4)


def test_measured_again_it_is_the_same_metric_and_a_change_is_another() -> None:
    assert sent()[0] == sent()[0]
    changes: list[dict[str, Any]] = [{"rows": 5}, {"auc": 0.7}, {"brier": 0.21}, {"hour": "x"}, {"model_id": "n"}]
    assert len({sent()[0], *(sent(**change)[0] for change in changes)}) == 1 + len(changes)


def test_counts_have_figures_of_their_own() -> None:
    rows = [("m", NINE, 12, 10.5), ("m", NINE, 3, 4.0), ("m", TEN, 7, 7.5)]
    table = day_figures(answers(rows), COUNT)
    assert table.schema == figures_schema(COUNT)
    found = {row["hour"]: row for row in table.to_pylist()}
    assert (found[TEN]["d2"], found[TEN]["mean_absolute_error"]) == (None, 0.5)
    assert 0.9 < found[None]["d2"] < 1.0
    ((_, message),) = quality_messages("house", COUNT, "run", "2013-01-04T00:00:00Z", [{**found[TEN], "hour": None}])
    table_of_it, kept = metric_row(dict(message), "house", COUNT)
    assert table_of_it == model_quality_table(COUNT)
    assert kept["poisson_deviance"] == pytest.approx(found[TEN]["poisson_deviance"])
    with pytest.raises(ValueError, match="log_loss"):
        metric_row(dict(message), "house", BINARY)
