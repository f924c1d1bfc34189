"""Who goes on at a rung, and how many, whatever the order of losses."""

import math
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler

from include.training.halving import Halving, Rung

LOSSES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(LOSSES, st.integers(2, 5))
def test_never_more_than_one_in_so_many_go_on(losses: list[float], reduction: int) -> None:
    rung, passed = Rung(reduction), 0
    for number, loss in enumerate(losses, 1):
        passed += rung.goes_on(str(number), loss)
        assert 1 <= passed <= 1 + number // reduction


@given(LOSSES)
def test_one_goes_on_only_among_the_best(losses: list[float]) -> None:
    rung = Rung(4)
    for number, loss in enumerate(losses):
        if rung.goes_on(str(number), loss):
            assert sum(other < loss for other in losses[:number]) <= (number + 1) // 4


def test_trials_that_grow_ever_better_do_not_all_go_on() -> None:
    rung = Rung(4)
    went = [number for number in range(16) if rung.goes_on(str(number), 1 - number / 100)]
    assert went == [0, 3, 7, 11, 15]


def test_a_trial_that_comes_twice_gets_the_same_answer() -> None:
    rung = Rung(4)
    assert rung.goes_on("first", 0.5) and rung.goes_on("first", 0.9)
    assert not rung.goes_on("second", 0.4)
    assert not rung.goes_on("second", 0.1)


def test_what_is_no_number_never_goes_on() -> None:
    for loss in (math.nan, math.inf):
        assert not Rung(4).goes_on("broken", loss)


def test_the_scheduler_asks_the_rung_that_was_reached() -> None:
    halving = Halving("eighths", (1, 4), 4)
    assert halving.set_search_properties("loss", "min")

    def told(name: str, eighths: int, loss: float) -> str:
        result = {"eighths": eighths, "loss": loss}
        return halving.on_trial_result(None, SimpleNamespace(trial_id=name), result)

    assert told("a", 1, 0.5) == TrialScheduler.CONTINUE
    assert told("b", 1, 0.6) == TrialScheduler.STOP
    assert told("a", 4, 0.4) == TrialScheduler.CONTINUE
    assert told("a", 8, 0.9) == TrialScheduler.CONTINUE, "between rungs nobody is asked again"
    assert told("c", 5, 0.6) == TrialScheduler.STOP, "a trial restored behind the first rung"


def test_a_search_that_goes_on_knows_who_had_passed() -> None:
    halving = Halving("eighths", (1, 4), 4)
    assert halving.set_search_properties("loss", "min")

    def joins(name: str, eighths: int, loss: float, is_over: bool, finished: bool = False) -> None:
        last = {"eighths": eighths, "loss": loss, "finished": finished} if eighths else {}
        halving.on_trial_add(None, SimpleNamespace(trial_id=name, last_result=last, is_finished=lambda: is_over))

    def told(name: str, loss: float) -> str:
        return halving.on_trial_result(None, SimpleNamespace(trial_id=name), {"eighths": 1, "loss": loss})

    joins("a", 1, 0.5, is_over=False)
    joins("b", 1, 0.6, is_over=True)
    joins("c", 8, 0.45, is_over=True, finished=True)
    joins("d", 1, 0.4, is_over=False)
    joins("new", 0, 0.0, is_over=False)
    assert [told(name, 0.9) == TrialScheduler.CONTINUE for name in "abcd"] == [True, False, True, True]
    assert told("new", 0.3) == TrialScheduler.STOP, "three of five may not have passed, and did"
