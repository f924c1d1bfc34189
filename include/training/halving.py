"""Successive halving that keeps its word: of the trials that reach a rung, one in so many goes on, and never more.

After Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), its stopping form, as Ray's own
``ASHAScheduler``, which compares a trial with those before it alone. Under a sampler that learns, most trials are
better than those before them, and a third of all was trained to the end. Here a rung also counts whom it has let pass.
It knows trials by name and a loss; not networks, nor what a part of an epoch is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler


class Rung:
    """The losses of the trials that have come so far, and who went on."""

    def __init__(self, reduction: int) -> None:
        self._reduction = reduction
        self._losses: dict[str, float] = {}
        self._passed: set[str] = set()

    def goes_on(self, trial: str, loss: float) -> bool:
        """Whether a trial goes on: the first one, and then one more for every ``reduction`` that come.

        It must be among the best that may have passed by now, too. A trial that comes twice (its process was killed
        and it goes on from before the rung) gets the same answer. One whose loss is no number never goes on.
        """
        if trial in self._losses:
            return trial in self._passed
        if not math.isfinite(loss):
            return False
        better = sum(other < loss for other in self._losses.values())
        self._losses[trial] = loss
        allowed = 1 + len(self._losses) // self._reduction
        if better >= allowed or len(self._passed) >= allowed:
            return False
        self._passed.add(trial)
        return True

    def remember(self, trial: str, loss: float, passed: bool) -> None:
        """What a trial was told here before its search was killed."""
        if math.isfinite(loss):
            self._losses[trial] = loss
            if passed:
                self._passed.add(trial)


class Halving(FIFOScheduler):
    """Ray Tune's scheduler over rungs: ``rungs`` in units of the result ``time_attr``, ascending."""

    def __init__(self, time_attr: str, rungs: Sequence[int], reduction: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._time_attr = time_attr
        self._rungs = {milestone: Rung(reduction) for milestone in rungs}
        self._loss, self._sign = "", 1.0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take over what the search calls good."""
        if metric is None or mode is None:
            return False
        # The controller asks a scheduler for its metric by this name.
        self._metric, self._loss, self._sign = metric, metric, 1.0 if mode == "min" else -1.0
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial joins: where a search goes on, with what it had reached. Ray keeps nothing of a scheduler.

        One that was given up has reached the rung at which it was; of earlier rungs its newest loss stands for the one
        that it had there.
        """
        result = trial.last_result or {}
        if self._loss not in result:
            return
        reached = self._reached(result)
        given_up = trial.is_finished() and not result.get("finished")
        for rung in reached:
            passed = rung is not reached[-1] or not given_up
            rung.remember(trial.trial_id, self._sign * float(result[self._loss]), passed)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Stop a trial that does not pass a rung it has reached."""
        loss = self._sign * float(result[self._loss])
        reached = self._reached(result)
        # Only the last rung reached is asked: the ones before were, or the trial went on from a checkpoint after them.
        on = not reached or reached[-1].goes_on(trial.trial_id, loss)
        return str(TrialScheduler.CONTINUE if on else TrialScheduler.STOP)

    def _reached(self, result: Mapping[str, Any]) -> list[Rung]:
        return [rung for milestone, rung in self._rungs.items() if result[self._time_attr] >= milestone]
