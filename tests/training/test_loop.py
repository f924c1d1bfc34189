"""The loop repeats with the same seed, learns a known signal, and goes on after an interruption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from include.training.encoding import Encoders
from include.training.loop import Loop, LoopConfig, Tensors, build, predict, rate_factor
from include.training.network import NetworkConfig
from tests.training.synthetic import FEATURES, days, rows

DATA = rows(day_count=4, per_day=500)
TRAIN, VALIDATION = DATA.on(days(4)[:3]), DATA.on(days(4)[3:])
ENCODERS = Encoders.fit(FEATURES, TRAIN.columns, bins=8)
NETWORK = NetworkConfig(width=32, blocks=1, dropout=0.1, embedding_width=4)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(seed: int = 1, epochs: int = 8, patience: int = 4) -> Loop:
    cpu = torch.device("cpu")
    train = Tensors.of(ENCODERS.encode(TRAIN.columns), TRAIN.labels, cpu)
    validation = Tensors.of(ENCODERS.encode(VALIDATION.columns), VALIDATION.labels, cpu)
    config = LoopConfig(epochs=epochs, batch_size=128, learning_rate=5e-3, patience=patience, seed=seed)
    return build(ENCODERS, NETWORK, config, train, validation)


def run(loop: Loop) -> list[float]:
    losses = []
    while not loop.finished:
        losses.append(loop.run_epoch().validation_log_loss)
    return losses


def test_the_same_seed_gives_the_same_run_and_another_does_not() -> None:
    first = run(make(seed=1, epochs=3))
    assert first == run(make(seed=1, epochs=3))
    assert first != run(make(seed=2, epochs=3))


def test_it_learns_the_signal() -> None:
    loop = make()
    run(loop)
    assert loop.progress.best_auc > 0.78
    assert np.isfinite(predict(loop.best_network(), loop.validation)).all()


def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    whole = make(epochs=4)
    expected = run(whole)
    first = make(epochs=4)
    begun = [first.run_epoch().validation_log_loss for _ in range(2)]
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
    assert loop.progress.epoch < 50


def test_a_row_does_not_depend_on_its_batch() -> None:
    loop = make(epochs=1)
    loop.run_epoch()
    together = predict(loop.network, loop.validation)
    alone = Tensors(loop.validation.numeric[:1], loop.validation.category[:1], loop.validation.labels[:1])
    assert predict(loop.network, alone)[0] == pytest.approx(together[0], abs=1e-6)


def test_the_rate_warms_up_and_falls() -> None:
    assert rate_factor(0.0, 10) < 0.1
    assert rate_factor(1.0, 10) > 0.9
    assert rate_factor(10.0, 10) == pytest.approx(0.05)
