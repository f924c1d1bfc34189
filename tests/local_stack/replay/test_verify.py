"""What is set beside each other after a replay: the same subjects, by the model that answered, and how fresh."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from include.bundle.bundle import Contents, load_bundle, write_bundle
from include.bundle.store import DirectoryStore
from include.target import BINARY
from include.training.dataset import Rows
from include.training.metrics import skill
from include.use_case import UseCase, load_use_case
from local_stack.replay.session import Plan
from local_stack.replay.tables import comparison_lines, freshness_table
from local_stack.replay.verify import (
    Answered,
    Comparison,
    as_answered,
    compare,
    days_of,
    freshness,
    paired,
    quantiles,
)
from tests.training.synthetic import FEATURES, rows, untrained, write_tables

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES, target=BINARY))

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
    assert [len(found) for found in paired({"a": 0.0}, [answer("b")], {})] == [0, 0, 0]


def test_what_was_answered_is_compared_with_the_tables_and_the_models_that_answered(tmp_path: Path) -> None:
    """Live answers that batch gives again differ by nothing; one that was wrong live shows, whoever else answered."""
    data = rows(day_count=2, per_day=100)
    tables, models = write_tables(tmp_path / "lake", data, closed=[]), DirectoryStore(tmp_path / "models")
    bundles = [load_bundle(models, SHOPS.name, written(models, data, seed), SHOPS.features) for seed in (1, 2)]
    ids, moments = [f"s{number:06d}" for number in range(len(data))], data.days.astype("datetime64[s]").tolist()
    scored = {bundle.model_id: bundle.answers(data.columns) for bundle in bundles}
    # The second model was promoted between the two days.
    answers = [
        Answered(ids[n], moments[n].replace(tzinfo=UTC), bundle.model_id, float(scored[bundle.model_id][n]), {})
        for n in range(len(data))
        for bundle in [bundles[n // 100]]
    ]
    found = compare(SHOPS, tables, models, answers)
    given = np.array([one.answer for one in answers])
    auc = pytest.approx(skill(BINARY, data.labels, given))
    assert found == Comparison(200, BINARY.skill, auc, auc) and found.live == found.batch
    upside_down = [replace(one, answer=1 - one.answer) for one in answers]
    assert compare(SHOPS, tables, models, upside_down) == replace(
        found, live=pytest.approx(1 - skill(BINARY, data.labels, given))
    )
    late_ones = [answers[n] for n in np.flatnonzero(data.labels)]
    assert compare(SHOPS, tables, models, late_ones) == Comparison(len(late_ones), BINARY.skill, None, None)
    of_another_month = [replace(answers[0], at=answers[0].at + timedelta(days=30))]
    assert compare(SHOPS, tables, models, of_another_month) == Comparison(0, BINARY.skill, None, None)


def written(models: DirectoryStore, data: Rows, seed: int) -> str:
    """A network of random weights as a bundle; its id."""
    check = {name: values[:5] for name, values in data.columns.items()}
    return write_bundle(models, SHOPS.name, Contents(FEATURES, untrained(data, seed), {}, check, {}, {}))


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


def test_a_comparison_without_figures_says_why() -> None:
    alike, none = (
        comparison_lines([], [("2013-02-04", 9, None)], Comparison(subjects, BINARY.skill, None, None))
        for subjects in (9, 0)
    )
    assert alike == [
        "2013-02-04 live quality (Hive): no AUC (all outcomes alike) on 9 labelled answers",
        "AUC on 9 subjects: none, all outcomes are alike",
    ]
    assert none[-1] == "AUC on 0 subjects: no answered subject has features and a closed label in the batch layer"
