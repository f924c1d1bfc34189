"""A search space is refused where a trial could not use it; what it says by default is what a search begins with."""

from dataclasses import fields

import pytest

from include.search import ARCHITECTURE, TRAINING, Choice, SearchSpace, Uniform
from include.training.loop import LoopConfig
from include.training.network import NetworkConfig
from include.training.tune import param_space


def test_the_names_are_those_of_the_configurations() -> None:
    assert {field.name for field in fields(NetworkConfig)} == set(ARCHITECTURE)
    assert {field.name for field in fields(LoopConfig)} == set(TRAINING)


def test_the_first_trials_are_in_the_space() -> None:
    space = SearchSpace()
    assert set(param_space(space.fresh)) == set(space.first)
    assert set(param_space(space.continued)) == set(space.continued_first)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fresh": {"breadth": Choice((1,))}, "first": {"breadth": 1}}, r"varies \['breadth'\]"),
        ({"fresh": {"epochs": Choice((1,))}, "first": {"epochs": 1}}, r"varies \['epochs'\]"),
        ({"first": {"width": 96}}, "must say"),
        ({"first": {**SearchSpace().first, "width": 100}}, r"outside of it in \['width'\]"),
        ({"first": {**SearchSpace().first, "dropout": 0.5}}, r"outside of it in \['dropout'\]"),
        ({"continued": {"width": Choice((96,))}, "continued_first": {"width": 96}}, r"varies \['width'\]"),
        ({"continued": {"batch_size": Choice((64,))}, "continued_first": {"batch_size": 64}}, "'dropout'"),
    ],
)
def test_what_no_trial_could_use_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchSpace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("low", "high", "log"), [(1.0, 1.0, False), (0.0, 1.0, True), (0.0, float("inf"), False)])
def test_no_range_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="no range"):
        Uniform(low, high, log)
