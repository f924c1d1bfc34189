"""What a search says while it runs: a line an epoch for people, a JSON line per change for the sensor.

The sensor looks for the last line that starts with ``LAMBDA_DL_PROGRESS``. It does not know what is trained.
"""

import json
from collections.abc import Sequence
from typing import Any

from ray.tune import Callback

from include.target import Target, validated
from include.training.log_lines import PROGRESS


class ProgressPrinter(Callback):
    """Prints the search's progress to the job's log."""

    def __init__(self, trials: int, epochs: int, target: Target) -> None:
        self.trials = trials
        self.epochs = epochs
        self.target = target
        self.printed = ""
        self.number: dict[str, int] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Say how one epoch went."""
        number = self.number.setdefault(trial.trial_id, len(self.number) + 1)
        print(
            f"trial {number}/{self.trials} epoch {result['epoch']:g}/{self.epochs}: train loss "
            f"{result['train_loss']:.4f}, validation {self.target.loss.words} {result['validation_loss']:.4f}, "
            f"{self.target.skill.words} {result['validation_skill']:.4f} ({result['time_this_iter_s']:.1f} s)",
            flush=True,
        )

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Say how the search stands, if that changed."""
        self._say(trials)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Say how the search ended."""
        self._say(trials)

    def _say(self, trials: list[Any]) -> None:
        line = json.dumps(progress(trials, self.trials, self.target))
        if line != self.printed:
            self.printed = line
            print(f"{PROGRESS} {line}", flush=True)


def progress(trials: Sequence[Any], total: int, target: Target) -> dict[str, Any]:
    """How a search stands: trials done, running and failed, and the best figures so far."""
    states = [trial.status for trial in trials]
    scored = [trial.last_result for trial in trials if trial.last_result and "best_loss" in trial.last_result]
    best = min(scored, key=lambda result: float(result["best_loss"]), default=None)
    figures = {
        validated(target.skill): round(best["best_skill"], 6) if best else None,
        validated(target.loss): round(best["best_loss"], 6) if best else None,
    }
    return {
        "done": states.count("TERMINATED"),
        "running": states.count("RUNNING"),
        "failed": states.count("ERROR"),
        "trials": total,
        "best": figures,
    }
