"""Counts all the way through training: the network learns a rate, its bundle answers it, everything has its name."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import d2_tweedie_score, mean_absolute_error, mean_poisson_deviance

from include.bundle.bundle import Contents, load_bundle, write_bundle
from include.bundle.store import DirectoryStore
from include.gate import Evidence, decide
from include.promotion import compared
from include.target import BINARY, COUNT
from include.training import messages
from include.training.calibration import fit_shift, fit_temperature
from include.training.dataset import Dataset, Rows, check_rows, split_days
from include.training.evaluation import BASE_RATE, CANDIDATE, LIGHTGBM, Evaluation, evaluate
from include.training.finish import Finished, finish
from include.training.intervals import Resamples
from include.training.loop import Loop, LoopConfig, build
from include.training.metrics import calibration_error, loss, quality
from include.training.model_card import Story, model_card
from include.training.network import NetworkConfig
from include.training.rivals import LightGbm, base_rate
from include.training.trial import TrialSummary
from include.use_case import Gate, UseCase
from tests.training.synthetic import FEATURES, days, material, rows, spans

SPLIT = split_days(days(10), validation_days=2, test_days=6)
COUNTS = st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 50)), min_size=2, max_size=40)


def rate(given: Rows) -> NDArray[np.float64]:
    """What the synthetic counts are drawn with: some 20 to 400."""
    c = given.columns
    return np.asarray(np.exp(3.0 + 0.8 * np.abs(c["x"]) + 0.5 * (c["colour"] == "red")), dtype=np.float64)


def counted() -> Rows:
    data = rows(day_count=10, per_day=300)
    return replace(data, labels=np.random.default_rng(5).poisson(rate(data)).astype(np.float32), target=COUNT)


DATASET = Dataset(*spans(counted(), SPLIT), SPLIT, {"labels": 3})
MATERIAL = material(DATASET.train, DATASET.validation)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loop() -> Loop:
    torch.set_num_threads(1)
    config = LoopConfig(epochs=12, batch_size=32, averaging=0.98, patience=12, numeric_dropout=0.0)
    found = build(MATERIAL.encoders, NetworkConfig(width=32, layers=1, dropout=0.0), config, *MATERIAL.tensors(CPU))
    while not found.finished:
        found.run_part()
    return found


@pytest.fixture(scope="module")
def finished(loop: Loop) -> Finished:
    return finish(loop, MATERIAL, DATASET.validation.days, CPU)


@pytest.fixture(scope="module")
def lightgbm() -> LightGbm:
    return LightGbm(MATERIAL, seed=0, threads=1, trials=2)


@pytest.fixture(scope="module")
def evaluation(finished: Finished, lightgbm: LightGbm) -> Evaluation:
    roles = {
        CANDIDATE: lambda given: finished.final.answers(given.columns),
        BASE_RATE: lambda given: base_rate(DATASET.train, given),
        LIGHTGBM: lightgbm.answers,
    }
    return evaluate(roles, roles, DATASET, ("colour",), seed=0)


@given(COUNTS)
@settings(max_examples=100)
def test_the_figures_are_scikit_learns(drawn: list[tuple[int, float]]) -> None:
    labels, answers = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    assert loss(COUNT, labels, answers) == pytest.approx(mean_poisson_deviance(labels, answers), abs=1e-9)
    if len(np.unique(labels)) < 2:
        with pytest.raises(ValueError, match="differ"):
            quality(COUNT, labels, answers)
        return
    found = quality(COUNT, labels, answers)
    assert found.skill == pytest.approx(d2_tweedie_score(labels, answers, power=1), abs=1e-9)
    assert found.error == pytest.approx(mean_absolute_error(labels, answers))
    assert list(found.to_json()) == ["rows", "d2", "poisson_deviance", "mean_absolute_error", "calibration_error"]


def test_the_calibration_error_is_a_share_of_the_mean() -> None:
    labels, answers = np.array([2, 4, 10, 20]), np.array([1.0, 3.0, 12.0, 22.0])
    assert calibration_error(COUNT, labels, answers, bins=2) == pytest.approx((1 + 2) / 2 / 9)
    assert calibration_error(COUNT, np.zeros(4), np.zeros(4)) == 0.0


def test_a_resample_is_the_figure_of_the_rows_drawn() -> None:
    random = np.random.default_rng(4)
    labels, answers = random.poisson(3.0, 300), random.uniform(1, 6, 300)
    resamples = Resamples.draw(random.integers(0, 10, 300).astype(str), seed=1, resamples=7)
    explained, losses = resamples.skill(COUNT, labels, answers), resamples.loss(COUNT, labels, answers)
    for i, counts in enumerate(resamples.counts):
        drawn = np.concatenate([np.flatnonzero(resamples.unit_of == u) for u in range(10) for _ in range(counts[u])])
        assert explained[i] == pytest.approx(d2_tweedie_score(labels[drawn], answers[drawn], power=1), abs=1e-12)
        assert losses[i] == pytest.approx(mean_poisson_deviance(labels[drawn], answers[drawn]), abs=1e-12)
    assert np.isnan(Resamples.draw(np.arange(6), 0, 3).skill(COUNT, np.full(6, 2), np.full(6, 2.0))).all()


@given(st.integers(0, 1000), st.floats(-8, 8))
@settings(max_examples=50)
def test_a_shift_brings_the_mean_answer_to_the_mean_label(seed: int, off: float) -> None:
    random = np.random.default_rng(seed)
    labels, scores = random.poisson(40, 500), random.normal(3.0, 0.5, 500) + off
    shift = fit_shift(COUNT, labels, scores)
    assert COUNT.respond(scores + shift).mean() == pytest.approx(labels.mean())
    assert fit_shift(COUNT, np.zeros(500), scores) == 0.0
    assert fit_temperature(COUNT, labels, scores, np.arange(500) % 20) == 1.0, "temperature is for probabilities"


def test_the_network_learns_the_rate(loop: Loop, finished: Finished, lightgbm: LightGbm) -> None:
    test = DATASET.test
    found = quality(COUNT, test.labels, finished.final.answers(test.columns))
    best = quality(COUNT, test.labels, rate(test))
    assert found.skill > 0.8 * best.skill
    assert found.calibration_error < 0.1
    boosted = quality(COUNT, test.labels, lightgbm.answers(test))
    assert 0.6 * best.skill < boosted.skill <= best.skill
    unseen = lightgbm.validated_answers(DATASET.validation)
    told = lightgbm.to_json()["validation_poisson_deviance"]
    assert told == pytest.approx(loss(COUNT, DATASET.validation.labels, unseen))
    assert finished.final.temperature == 1.0
    # It begins at the labels' mean: the logarithm of a count is many steps away from 0.
    fresh = build(MATERIAL.encoders, loop.network.config, loop.config, *MATERIAL.tensors(CPU))
    assert fresh.run_part().validation_skill > -0.5


def test_its_bundle_answers_the_same(finished: Finished, tmp_path: Path) -> None:
    columns = DATASET.test.columns
    check = {name: values[:20] for name, values in columns.items()}
    store = DirectoryStore(tmp_path)
    model_id = write_bundle(store, "shops", Contents(FEATURES, finished.final, {}, check, {}, {}))
    bundle = load_bundle(store, "shops", model_id, FEATURES)
    np.testing.assert_allclose(bundle.answers(columns), finished.final.answers(columns), rtol=1e-6)
    assert bundle.predictor.target is COUNT


def test_the_card_and_the_messages_name_the_figures_of_counts(finished: Finished, evaluation: Evaluation) -> None:
    case = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES, comment="How many?", target=COUNT))
    trial = TrialSummary("t1", "finished", {"learning_rate": 0.001}, 7, 0.71, 5.1, 1.5)
    tuned = {
        "trials": 1,
        "trials_asked": 1,
        "config": {},
        "rounds": 40,
        "cut_short": False,
        "validation_poisson_deviance": 5.2,
    }
    lineage = {"split": SPLIT.to_json(), "config": {}}
    files = model_card(Story(case, DATASET, (trial,), trial, finished.final, tuned, "", "", lineage), evaluation)
    assert set(files) == {"model_card.json", "model_card.md", "reliability.png", "errors.png"}
    text, document = files["model_card.md"].decode(), json.loads(files["model_card.json"])
    assert "| model | rows | D² | Poisson deviance | mean absolute error | calibration error |" in text
    assert "AUC" not in text and "log-loss" not in text and "probability" not in text and "temperature" not in text
    assert "![Errors](errors.png)" in text
    assert set(document["quality"]["test"]["candidate"]) >= {"d2", "poisson_deviance", "mean_absolute_error"}
    assert {"mean_label", "d2", "lightgbm_d2"} <= set(document["slices"][0])
    assert document["permutation_importance"][0]["feature"] == "x"
    assert [set(point) for point in document["reliability"][CANDIDATE]] == [{"value", "mean_label"}] * 15
    told = messages.training_run("shops", COUNT, "run", "2020-01-01T00:00:00Z", trial)
    assert (told["validation_d2"], told["validation_poisson_deviance"]) == (0.71, 5.1)
    assert any("D²" in line for line in evaluation.lines())


def test_the_gate_judges_counts(evaluation: Evaluation) -> None:
    figures = evaluation.figures["test"]
    first = Evidence(SPLIT.test, figures[CANDIDATE], figures[BASE_RATE], None, predict_ms=0.3)
    assert decide(first, Gate()).promote
    assert "D² " in decide(first, Gate()).reasons[0] and "Poisson deviance" in decide(first, Gate()).reasons[0]
    knows_nothing = replace(first, candidate=replace(figures[CANDIDATE], skill=-0.1))
    assert decide(knows_nothing, Gate()).reasons == ("D² -0.1000 is no better than chance, 0",)
    case = cast(UseCase, SimpleNamespace(name="shops", slices=("colour",), gate=Gate()))
    tested = evaluation.test
    rival = compared(case, "m", DATASET.test, tested.by_role[CANDIDATE], tested.by_role[BASE_RATE])
    assert rival.lead["d2"].interval.low > 0 and rival.lead["poisson_deviance"].interval.high < 0
    assert decide(replace(first, rival=rival), Gate()).promote


def test_counts_that_are_all_alike_teach_nothing() -> None:
    alike = replace(DATASET.test, labels=np.full(len(DATASET.test), 7, dtype=np.float32))
    with pytest.raises(ValueError, match=r"all alike \(7\)"):
        check_rows("test", alike)


def test_a_copy_in_another_process_is_the_same_target() -> None:
    assert replace(BINARY) == BINARY and replace(BINARY) is not BINARY
    labels, p = np.array([0, 1, 1]), np.array([0.2, 0.7, 0.6])
    assert quality(replace(BINARY), labels, p) == quality(BINARY, labels, p)
