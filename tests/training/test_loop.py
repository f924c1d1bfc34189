"""The loop repeats with the same seed, learns a known signal, and goes on after an interruption."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from include.target import BINARY
from include.training.finish import refit, validated
from include.training.loop import Loop, LoopConfig, build, parts_of, predict, predict_scores, rate_factor, shuffled
from include.training.metrics import loss as loss_of
from include.training.network import NetworkConfig
from tests.training.synthetic import days, material, rows

DATA = rows(day_count=4, per_day=500)
TRAIN, VALIDATION = DATA.between(*days(4)[:3:2]), DATA.between(days(4)[3], days(4)[3])
MATERIAL = material(TRAIN, VALIDATION)
ENCODERS = MATERIAL.encoders
NETWORK = NetworkConfig(width=32, layers=1, dropout=0.1, embedding_width=4)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(seed: int = 1, epochs: int = 8, patience: int = 4) -> Loop:
    config = LoopConfig(epochs=epochs, batch_size=128, learning_rate=5e-3, patience=patience, seed=seed)
    return build(ENCODERS, NETWORK, config, *MATERIAL.tensors(torch.device("cpu")))


def run(loop: Loop) -> list[float]:
    losses = []
    while not loop.finished:
        losses.append(loop.run_part().validation_loss)
    return losses


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    first = run(make(seed=1, epochs=3))
    assert first == run(make(seed=1, epochs=3))
    assert first != run(make(seed=2, epochs=3))


def test_it_learns_the_signal() -> None:
    loop = make()
    run(loop)
    assert loop.progress.best_skill > 0.78
    assert np.isfinite(predict(loop.best_network(), loop.validation)).all()


def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    whole = make(epochs=4)
    expected = run(whole)
    first = make(epochs=4)
    begun = [first.run_part().validation_loss for _ in range(2)]
    first.save(tmp_path)
    second = make(epochs=4)
    second.restore(tmp_path)
    assert begun + run(second) == expected
    np.testing.assert_array_equal(
        predict(second.best_network(), second.validation), predict(whole.best_network(), whole.validation)
    )


def test_it_stops_when_validation_no_longer_improves() -> None:
    loop = make(epochs=50, patience=1)
    run(loop)
    assert loop.progress.part < 100


def test_a_row_does_not_depend_on_its_batch() -> None:
    loop = make(epochs=1)
    loop.run_part()
    together = predict(loop.network, loop.validation)
    assert predict(loop.network, loop.validation.span(0, 1))[0] == pytest.approx(together[0], abs=1e-6)


def test_the_parts_of_an_epoch_are_its_whole() -> None:
    loop = make(epochs=1)
    seen = []
    for _ in range(parts_of(1)):
        seen += [rows for _, rows in loop._batches()]
        loop.progress.part += 1
    assert len(torch.cat(seen).unique()) == len(torch.cat(seen)) == len(TRAIN) // 128 * 128


def test_trained_again_with_the_validation_days_a_seed_gives_the_same_network() -> None:
    loop = make(epochs=4)
    run(loop)
    one, two = (predict(refit(loop, MATERIAL, torch.device("cpu")), loop.validation) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    labels = loop.validation.labels.numpy()
    # It has seen them now, so it knows them better than the network that had not.
    assert loss_of(BINARY, labels, one) < loss_of(BINARY, labels, predict(loop.best_network(), loop.validation))


def test_a_run_goes_on_from_given_weights() -> None:
    known = make(epochs=8)
    run(known)
    weights = known.best_network().state_dict()
    config = LoopConfig(epochs=1, batch_size=128, learning_rate=1e-5)
    later = build(ENCODERS, NETWORK, config, known.train, known.validation, weights)
    assert later.run_part().validation_skill == pytest.approx(known.progress.best_skill, abs=0.01)
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(ENCODERS, replace(NETWORK, width=16), config, known.train, known.validation, weights)


@given(count=st.integers(0, 40_000), seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_every_row_comes_once_however_many_there_are(count: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.training.loop.MIXED_ROWS", 8192)
        one, two = (shuffled(count, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(one.sort().values, torch.arange(count))


def test_many_rows_come_in_pieces_and_mixed() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.training.loop.MIXED_ROWS", 4096)
        order = shuffled(100_000, torch.Generator().manual_seed(0))
    pieces = order[:4096] // 1024
    assert len(pieces.unique()) == 4
    assert (pieces.diff() != 0).float().mean() > 0.7


def test_the_rate_warms_up_and_falls() -> None:
    assert rate_factor(0.0, 10) < 0.1
    assert rate_factor(1.0, 10) > 0.9
    assert rate_factor(10.0, 10) == pytest.approx(0.05)


def test_a_temperature_moves_no_level() -> None:
    """A network that is too sure of itself: its answers are drawn towards a half, and their mean stays the labels'."""
    loop = make(epochs=6)
    run(loop)
    loop.best["head.weight"] *= 4.0
    found = validated(loop, MATERIAL, np.arange(len(VALIDATION)) % 7)
    assert found.temperature > 1.0
    answers = found.answers(TRAIN.columns)
    assert answers.mean() == pytest.approx(TRAIN.labels.mean(), abs=1e-4)
    last = refit(loop, MATERIAL, torch.device("cpu"), temperature=2.0)
    both = MATERIAL.target.respond(predict_scores(last, MATERIAL.all_tensors(torch.device("cpu"))) / 2.0)
    assert both.mean() == pytest.approx(MATERIAL.labels.mean(), abs=1e-4)
