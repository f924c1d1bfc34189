"""Which value of the scorecard counts, and what stops training."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.quality import newest_values, shortfalls
from include.use_case import Quality, load_use_case


def row(source: str, dimension: str, value: float, minute: int = 0) -> dict[str, Any]:
    time = datetime(2026, 11, 25, 12, minute, tzinfo=UTC)
    return {"ds": "2013-01-05", "source": source, "dimension": dimension, "value": value, "time": time}


def test_what_was_measured_last_counts() -> None:
    rows = [row("a", "validity", 0.9, 5), row("a", "validity", 0.5, 1)]
    assert newest_values(rows) == {("2013-01-05", "a", "validity"): 0.9}
    assert shortfalls(rows, {"validity": 0.8}) == []


def test_a_shortfall_names_source_day_dimension_value_and_threshold() -> None:
    rows = [row("a", "validity", 0.8123), row("b", "validity", 0.95), row("a", "accuracy", 0.1)]
    assert [found.words() for found in shortfalls(rows, {"validity": 0.95})] == [
        "a 2013-01-05: validity is 0.8123, below the threshold 0.95"
    ]


def test_a_threshold_or_a_condition_for_what_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="thresholds for .'speed'.: the dimensions of quality are accuracy"):
        Quality(thresholds={"speed": 1.0})
    assert set(load_use_case("flight_delay").quality.thresholds) < {
        "accuracy",
        "completeness",
        "consistency",
        "validity",
        "accessibility",
        "timeliness",
    }


def test_what_says_something_by_being_empty_must_be_a_field_that_may_be_empty() -> None:
    use_case = load_use_case("flight_delay")
    wrong = Quality(empty_says={"weather": ("wind_gust_mph", "origin")})
    with pytest.raises(
        ValueError, match="empty_says of 'weather' names .'origin'.; what may be empty is .'temperature_f'"
    ):
        replace(use_case, quality=wrong)
