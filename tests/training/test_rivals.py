"""LightGBM and the base rate give probabilities on the same encoders and spans; a search never ends below its start."""

import numpy as np
import pytest

from include.target import BINARY
from include.training import rivals
from include.training.encoding import Encoded
from include.training.metrics import loss, quality
from include.training.rivals import DEFAULT, EncodedRows, LightGbm, base_rate
from tests.training.synthetic import days, material, rows

DATA = rows(day_count=3, per_day=500)
TRAIN, VALIDATION, TEST = (DATA.between(day, day) for day in days(3))
MATERIAL = material(TRAIN, VALIDATION)


def boosted(seed: int = 0, trials: int = 1, time_limit_s: float | None = None, threads: int = 1) -> LightGbm:
    return LightGbm(MATERIAL, seed, threads=threads, trials=trials, time_limit_s=time_limit_s)


def test_rivals_give_probabilities() -> None:
    booster = boosted()
    assert quality(BINARY, TEST.labels, booster.answers(TEST)).skill > 0.72
    assert (booster.trials, booster.config) == (1, DEFAULT)
    assert np.unique(base_rate(TRAIN, TEST)).tolist() == [float(TRAIN.labels.mean())]


def test_the_search_takes_the_best_on_the_validation_days() -> None:
    first, searched = boosted(), boosted(trials=8)
    assert searched.trials == 8
    assert searched.config != DEFAULT
    assert searched.validation_loss < first.validation_loss
    said = searched.to_json()
    unseen = searched.validated_answers(VALIDATION)
    assert said["validation_log_loss"] == pytest.approx(loss(BINARY, VALIDATION.labels, unseen))
    assert not np.array_equal(searched.answers(VALIDATION), unseen)
    assert (said["trials"], said["trials_asked"], set(said["config"])) == (8, 8, set(DEFAULT))


def test_the_same_seed_searches_the_same() -> None:
    one, two, other = boosted(seed=0, trials=8), boosted(seed=0, trials=8), boosted(seed=2, trials=8)
    assert one.config != DEFAULT
    assert one.to_json() == two.to_json()
    np.testing.assert_array_equal(one.answers(TEST), two.answers(TEST))
    assert one.to_json() != other.to_json()


def test_threads_grow_the_trees_of_one() -> None:
    one, three = boosted(trials=2), boosted(trials=2, threads=3)
    assert one.to_json() == three.to_json()
    np.testing.assert_array_equal(one.answers(TEST), three.answers(TEST))


def test_without_time_the_first_trial_ends_where_it_would_have_ended_soon() -> None:
    booster = boosted(trials=500, time_limit_s=0.0)
    assert (booster.trials, booster.asked, booster.config, booster.cut_short) == (1, 500, DEFAULT, False)
    np.testing.assert_array_equal(booster.answers(TEST), boosted().answers(TEST))


def test_without_time_the_first_trial_is_taken_as_far_as_it_has_to_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = boosted().to_json()["rounds"]
    monkeypatch.setattr(rivals, "LEAST_ROUNDS", rounds // 2)
    cut = boosted(trials=3, time_limit_s=0.0)
    said = cut.to_json()
    assert (said["rounds"], said["cut_short"], said["trials"]) == (rounds // 2, True, 1)
    assert boosted().to_json()["cut_short"] is False
    unseen = cut.validated_answers(VALIDATION)
    assert said["validation_log_loss"] == pytest.approx(loss(BINARY, VALIDATION.labels, unseen))
    assert cut.final.current_iteration() == rounds // 2


@pytest.mark.parametrize("index", [0, 6, -1, slice(2, 5), slice(3, 99), slice(None), [0, 3, -1], []])
def test_rows_are_read_as_those_of_an_array(index: int | slice | list[int]) -> None:
    encoded = Encoded(np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10, dtype=np.int64).reshape(10, 1))
    whole = np.concatenate([encoded.numeric, encoded.category], axis=1, dtype=np.float64)[2:9]
    chosen = whole[np.array(index, dtype=int)] if isinstance(index, list) else whole[index]
    rows = EncodedRows(encoded, 2, 9)
    assert np.array_equal(rows[index], chosen) and rows[index].dtype == np.float64
    with pytest.raises(IndexError):
        rows[7]
