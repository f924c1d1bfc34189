"""A prediction message as a row: exact doubles, and what is wrong with a message that is none."""

import json
import math
import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.features.spec import Feature
from include.predictions.message import prediction_row
from include.target import BINARY, COUNT

FEATURES = (Feature("warmth", "numeric", ""), Feature("colour", "categorical", ""))
MESSAGE: dict[str, Any] = {
    "id": "a",
    "model_id": "m",
    "sequence": 3,
    "probability": 0.25,
    "as_of": {"readings": "2013-01-02T23:59:00Z", "visits": None},
    "degraded": False,
    "prediction_time": "2013-01-03T00:30:15+01:00",
    "predicted_at": "2026-11-24T11:00:00.123Z",
    "via": "kafka",
    "features": {"warmth": 1.5, "colour": "red", "forgotten": 1},
    "features_hash": "h",
}


def row_of(**changes: Any) -> dict[str, Any]:
    return prediction_row(json.dumps(MESSAGE | changes).encode(), FEATURES, BINARY)


def test_a_message_becomes_a_row_of_its_utc_day() -> None:
    row = row_of()
    assert row["ds"] == "2013-01-02"
    assert row["prediction_time"] == datetime(2013, 1, 2, 23, 30, 15, tzinfo=UTC)
    assert row["as_of"] == [("readings", datetime(2013, 1, 2, 23, 59, tzinfo=UTC)), ("visits", None)]
    assert (row["warmth"], row["colour"]) == (1.5, "red")
    assert "forgotten" not in row


def test_a_feature_that_is_absent_or_null_is_null() -> None:
    row = row_of(features={"colour": None})
    assert (row["warmth"], row["colour"]) == (None, None)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_arrives_with_every_bit(value: float) -> None:
    found = row_of(features={"warmth": value})["warmth"]
    assert struct.pack("<d", found) == struct.pack("<d", value)
    assert math.copysign(1, found) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"probability": 1.5}, "probability"),
        ({"probability": "0.5"}, "probability"),
        ({"prediction_time": "2013-01-02T00:00:00"}, "prediction_time"),
        ({"via": "pigeon"}, "via"),
        ({"id": None}, "id"),
        ({"features": {"warmth": "hot"}}, "features.warmth: 'hot' is not numeric"),
        ({"features": {"colour": 7}}, "features.colour: 7.0 is not categorical"),
    ],
)
def test_a_wrong_message_names_its_field(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        row_of(**changes)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"id": "a"}'])
def test_what_is_no_prediction_is_an_error(value: bytes | None) -> None:
    with pytest.raises(ValueError):
        prediction_row(value, FEATURES, BINARY)


def test_a_count_has_a_value_in_place_of_a_probability() -> None:
    message = {name: value for name, value in MESSAGE.items() if name != "probability"}
    row = prediction_row(json.dumps(message | {"value": 31.5}).encode(), FEATURES, COUNT)
    assert row["value"] == 31.5 and "probability" not in row
    for target, wrong in ((COUNT, MESSAGE), (BINARY, message | {"value": 31.5}), (COUNT, message | {"value": -1.0})):
        with pytest.raises(ValueError, match="probability" if target is BINARY else "value"):
            prediction_row(json.dumps(wrong).encode(), FEATURES, target)
