"""The loop repeats with the same seed, learns a known signal, and goes on after an interruption."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from include.training.encoding import Encoders
from include.training.loop import PARTS, Loop, LoopConfig, Tensors, build, predict, rate_factor, refit
from include.training.metrics import log_loss
from include.training.network import NetworkConfig
from tests.training.synthetic import FEATURES, days, rows

DATA = rows(day_count=4, per_day=500)
TRAIN, VALIDATION = DATA.on(days(4)[:3]), DATA.on(days(4)[3:])
ENCODERS = Encoders.fit(FEATURES, TRAIN.columns, bins=8)
NETWORK = NetworkConfig(width=32, layers=1, dropout=0.1, embedding_width=4)


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
        losses.append(loop.run_part().validation_log_loss)
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
    begun = [first.run_part().validation_log_loss for _ in range(2)]
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
    alone = Tensors(loop.validation.numeric[:1], loop.validation.category[:1], loop.validation.labels[:1])
    assert predict(loop.network, alone)[0] == pytest.approx(together[0], abs=1e-6)


def test_the_parts_of_an_epoch_are_its_whole() -> None:
    loop = make(epochs=1)
    seen = []
    for _ in range(PARTS):
        seen += [rows for _, rows in loop._batches()]
        loop.progress.part += 1
    assert len(torch.cat(seen).unique()) == len(torch.cat(seen)) == len(TRAIN) // 128 * 128


def test_trained_again_with_the_validation_days_a_seed_gives_the_same_network() -> None:
    loop = make(epochs=4)
    run(loop)
    both = Tensors(
        torch.cat([loop.train.numeric, loop.validation.numeric]),
        torch.cat([loop.train.category, loop.validation.category]),
        torch.cat([loop.train.labels, loop.validation.labels]),
    )
    one, two = (predict(refit(loop, ENCODERS, both), loop.validation) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    labels = loop.validation.labels.numpy()
    # It has seen them now, so it knows them better than the network that had not.
    assert log_loss(labels, one) < log_loss(labels, predict(loop.best_network(), loop.validation))


def test_a_run_goes_on_from_given_weights() -> None:
    known = make(epochs=8)
    run(known)
    weights = known.best_network().state_dict()
    config = LoopConfig(epochs=1, batch_size=128, learning_rate=1e-5)
    later = build(ENCODERS, NETWORK, config, known.train, known.validation, weights)
    assert later.run_part().validation_auc == pytest.approx(known.progress.best_auc, abs=0.01)
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(ENCODERS, replace(NETWORK, width=16), config, known.train, known.validation, weights)


def test_the_rate_warms_up_and_falls() -> None:
    assert rate_factor(0.0, 10) < 0.1
    assert rate_factor(1.0, 10) > 0.9
    assert rate_factor(10.0, 10) == pytest.approx(0.05)
