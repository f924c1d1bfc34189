"""Slices add up, importance finds what a model uses, and the figures by role are those of the metrics."""

from dataclasses import replace

import numpy as np
import pytest

from include.target import BINARY
from include.training.dataset import Dataset, Rows, split_days
from include.training.evaluation import (
    MISSING_VALUE,
    OTHER_VALUES,
    Answering,
    Answers,
    Doubles,
    Evaluation,
    evaluate,
    permutation_importance,
    slice_quality,
)
from include.training.metrics import area_under_curve, loss, quality
from tests.training.synthetic import days, rows, spans

DAYS = days(12)
DATA = rows(day_count=12, per_day=150)
SPLIT = split_days(DAYS, validation_days=2, test_days=6)
DATASET = Dataset(*spans(DATA, SPLIT), SPLIT, {})
TEST = DATASET.test


def truth(given: Rows) -> Doubles:
    """The probabilities that the synthetic labels were drawn with."""
    c = given.columns
    logit = 2.0 * np.abs(c["x"]) - 2.0 + np.isnan(c["sometimes_missing"]) + (c["colour"] == "red")
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


def half_of_it(given: Rows) -> Doubles:
    """One who looks at ``x`` alone."""
    return np.asarray(1 / (1 + np.exp(1.4 - 2.0 * np.abs(given.columns["x"]))), dtype=np.float64)


def constant(given: Rows) -> Doubles:
    return np.full(len(given), 0.4)


ROLES: dict[str, Answering] = {"candidate": truth, "base_rate": constant, "lightgbm": half_of_it}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(ROLES, ROLES, DATASET, ("colour",), seed=0)


def test_figures_are_those_of_the_metrics(evaluation: Evaluation) -> None:
    assert evaluation.figures["test"]["candidate"] == quality(BINARY, TEST.labels, truth(TEST))
    assert evaluation.figures["validation"]["lightgbm"].rows == len(DATASET.validation)
    assert (evaluation.unit, evaluation.units, evaluation.resamples) == ("day", 6, 1000)


def test_the_json_has_figures_intervals_and_the_lead(evaluation: Evaluation) -> None:
    document = evaluation.to_json()
    test = document["test"]
    assert set(document) == {"validation", "test"}
    assert test["base_rate"]["auc"] == 0.5
    assert test["base_rate"]["intervals"]["auc"] == [0.5, 0.5]
    for role in ROLES:
        low, high = test[role]["intervals"]["log_loss"]
        assert low <= test[role]["log_loss"] <= high
    lead = test["lightgbm"]["candidate_minus"]["auc"]
    assert lead["value"] == test["candidate"]["auc"] - test["lightgbm"]["auc"]
    assert 0 < lead["low"] < lead["value"] < lead["high"]
    assert "candidate_minus" not in test["candidate"]
    assert document["validation"]["candidate"] == evaluation.figures["validation"]["candidate"].to_json()


def test_the_lead_is_paired(evaluation: Evaluation) -> None:
    equal = {"candidate": truth, "lightgbm": truth}
    same = evaluate(equal, equal, DATASET, (), seed=0).differences["lightgbm"]["auc"]
    assert (same.value, same.interval.low, same.interval.high) == (0.0, 0.0, 0.0)


def test_the_log_has_a_line_for_each_role(evaluation: Evaluation) -> None:
    lines = evaluation.lines()
    assert len(lines) == 3
    figures = evaluation.figures["test"]["candidate"]
    assert f"candidate AUC {figures.skill:.4f}" in lines[0]
    assert "candidate's AUC +" in lines[2]


def test_slices_add_up_and_small_ones_are_measured_together(evaluation: Evaluation) -> None:
    by_value = {one.value: one for one in evaluation.slices}
    assert sum(one.rows for one in evaluation.slices) == len(TEST)
    # There are too few violet rows and, on six days, too few without a colour.
    assert [one.value for one in evaluation.slices] == ["blue", "green", "red", OTHER_VALUES]
    red = TEST.columns["colour"] == "red"
    assert by_value["red"].rows == red.sum()
    assert by_value["red"].skill == area_under_curve(TEST.labels[red], truth(TEST)[red])
    assert by_value["red"].lightgbm_skill == area_under_curve(TEST.labels[red], half_of_it(TEST)[red])
    assert by_value["red"].loss == loss(BINARY, TEST.labels[red], truth(TEST)[red])
    assert by_value["red"].mean_label == pytest.approx(TEST.labels[red].mean())


def test_slices_of_a_number_rise_and_a_slice_of_one_class_has_no_area() -> None:
    hour = np.where(np.arange(len(TEST)) % 3 == 0, 10.0, np.where(np.arange(len(TEST)) % 3 == 1, 9.0, np.nan))
    labels = np.where(hour == 10.0, 1.0, TEST.labels).astype(np.float32)
    data = replace(TEST, stored={"hour": hour}, labels=labels)
    found = slice_quality(data, Answers(BINARY, labels, {"candidate": truth(TEST)}), "hour")
    assert [one.value for one in found] == ["9", "10", MISSING_VALUE]
    assert [one.skill is None for one in found] == [False, True, False]
    assert found[0].lightgbm_skill is None


def test_a_small_slice_is_not_called_badly_calibrated_by_chance() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.1, 0.4, 6000)
    labels = (random.random(6000) < p).astype(np.float32)
    column = np.repeat(np.arange(50.0), 120)
    data = Rows(column.astype("datetime64[D]"), {"shop": column}, labels, BINARY)
    errors = [one.calibration_error for one in slice_quality(data, Answers(BINARY, labels, {"candidate": p}), "shop")]
    assert len(errors) == 50
    assert np.mean(errors) < 0.05


def test_importance_finds_what_is_used_and_gives_nothing_to_noise() -> None:
    found = permutation_importance(truth, TEST, seed=0)
    assert [one.feature for one in found[:1]] == ["x"]
    by_name = {one.feature: one for one in found}
    assert set(by_name) == set(TEST.columns)
    assert by_name["x"].loss_increase > 0.2
    assert (by_name["x"].skill_drop or 0.0) > 0.1
    assert by_name["y"].loss_increase == pytest.approx(0.0, abs=1e-12)
    assert by_name["y"].skill_drop == pytest.approx(0.0, abs=1e-12)
    assert by_name["colour"].loss_increase > 0.01
    assert [one.loss_increase for one in found] == sorted((one.loss_increase for one in found), reverse=True)


def test_importance_looks_at_a_bounded_sample_and_repeats_with_the_seed() -> None:
    asked: list[int] = []

    def counted(given: Rows) -> Doubles:
        asked.append(len(given))
        return truth(given)

    found = permutation_importance(counted, TEST, seed=1, sample=400)
    assert asked == [400] * (1 + len(TEST.columns))
    assert found == permutation_importance(truth, TEST, seed=1, sample=400)
    assert found != permutation_importance(truth, TEST, seed=2, sample=400)
    asked.clear()
    permutation_importance(counted, TEST, seed=1, sample=2 * len(TEST))
    assert asked == [len(TEST)] * (1 + 2 * len(TEST.columns))
