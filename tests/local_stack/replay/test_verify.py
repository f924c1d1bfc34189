"""What is set beside each other after a replay: the same subjects, by the model that answered, and how fresh."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from include.target import BINARY
from include.use_case import load_use_case
from local_stack.replay.session import Plan
from local_stack.replay.tables import comparison_lines, freshness_table
from local_stack.replay.verify import Answered, Comparison, as_answered, days_of, freshness, paired, quantiles

TEN = datetime(2013, 2, 4, 10, tzinfo=UTC)


def answer(subject: str, model: str = "m", probability: float = 0.5, **behind: int | None) -> Answered:
    as_of: Mapping[str, datetime | None] = {
        source: None if minutes is None else TEN - timedelta(minutes=minutes) for source, minutes in behind.items()
    }
    return Answered(subject, TEN + timedelta(seconds=40), model, probability, as_of)


def test_subjects_are_paired_by_id_and_scored_by_the_model_that_answered() -> None:
    answers = [answer("b", "old", 0.9), answer("a", "new", 0.1), answer("stranger", "new", 0.5)]
    batch = {"old": {"a": 0.0, "b": 0.8}, "new": {"a": 0.2, "b": 0.0}}
    live, again, labels = paired({"a": 0.0, "b": 1.0}, answers, batch)
    assert (live.tolist(), again.tolist(), labels.tolist()) == ([0.9, 0.1], [0.8, 0.2], [1.0, 0.0])
    with pytest.raises(ValueError, match="no answered subject"):
        paired({"a": 0.0}, [answer("b")], {})


def test_freshness_is_told_in_minutes_behind_the_prediction_s_own() -> None:
    found = freshness([answer("a", departures=0, weather=30), answer("b", departures=2, weather=None)])
    assert found["departures"] == (0, quantiles([0.0, 2.0]))
    assert found["weather"] == (1, [30.0] * 4)
    assert freshness([]) == {}
    assert all(math.isnan(value) for value in quantiles([]))
    assert freshness_table(found).row_count == 2


def test_a_message_becomes_an_answer() -> None:
    message = json.loads(
        '{"id": "a", "prediction_time": "2013-02-04T10:00:40Z", "model_id": "m", "probability": 0.5,'
        ' "as_of": {"departures": "2013-02-04T09:58:00Z", "weather": null}}'
    )
    assert as_answered(message, BINARY) == answer("a", departures=2, weather=None)


def test_labels_close_a_horizon_after_the_last_replayed_day() -> None:
    day, following, last = (datetime(2013, 2, n).date() for n in (4, 5, 6))
    use_case = load_use_case("flight_delay")
    assert days_of(use_case, Plan(TEN, datetime(2013, 2, 6, tzinfo=UTC))) == (day, following, last)
    assert days_of(use_case, Plan(TEN, TEN + timedelta(hours=1))) == (day, day, following)


def test_the_comparison_is_told_with_its_difference() -> None:
    lines = comparison_lines(
        [("2013-02-04", "parity", 1.0)], [("2013-02-04", 9, 0.75)], Comparison(9, BINARY.skill, 0.7512, 0.75)
    )
    assert lines[-1] == "AUC on 9 subjects: live 0.7512, batch 0.7500, difference +0.0012"
    assert lines[0].startswith("2013-02-04 parity: 1.000000")
