"""A small search with real Ray Tune: its log tells the sensor how it stands, and it goes on where it was."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import pytest
import torch

from include.target import BINARY
from include.training.log_lines import PROGRESS
from include.training.material import Material
from include.training.progress import ProgressPrinter, progress
from include.training.tune import SearchPlan, _summary, search
from local_stack.layout import REPO_ROOT
from tests.training.synthetic import days, material, rows

PLAN = SearchPlan(trials=3, epochs=3, seed=5, max_concurrent=1)


def small() -> Material:
    data = rows(day_count=3, per_day=400)
    return material(data.between(*days(2)), data.between(days(3)[2], days(3)[2]))


def test_progress_counts_trials_and_names_the_best() -> None:
    def trial(status: str, loss: float | None) -> SimpleNamespace:
        result = {"best_loss": loss, "best_skill": 0.7} if loss else {}
        return SimpleNamespace(status=status, last_result=result)

    trials = [trial("TERMINATED", 0.4), trial("RUNNING", 0.3), trial("ERROR", None), trial("PENDING", None)]
    assert progress(trials, 8, BINARY) == {
        "done": 1,
        "running": 1,
        "failed": 1,
        "trials": 8,
        "best": {"validation_auc": 0.7, "validation_log_loss": 0.3},
    }


def test_a_trial_that_was_cut_off_is_judged_by_what_can_be_restored() -> None:
    """One told a better loss after its checkpoint, another's checkpoint is its last; a third has none."""

    def trial(name: str, told: float, kept: float | None) -> SimpleNamespace:
        checkpoint = None if kept is None else SimpleNamespace(path=f"{name}/newest")
        older = SimpleNamespace(path=f"{name}/older"), {"best_loss": 0.9, "epoch": 0.125, "best_skill": 0.5}
        newest = checkpoint, {"best_loss": kept, "epoch": 2.0, "best_skill": 0.7}
        metrics = {"trial_id": name, "best_loss": told, "epoch": 3.5, "best_skill": 0.8, "finished": False}
        kept_ones = [older, newest] if checkpoint else []
        return SimpleNamespace(
            metrics=metrics, checkpoint=checkpoint, best_checkpoints=kept_ones, error=None, config={}
        )

    found = [_summary(i, one) for i, one in enumerate([trial("a", 0.40, 0.45), trial("b", 0.42, 0.42)])]
    assert [(one.validation_loss, one.validation_skill, one.epochs) for one in found] == [
        (0.45, 0.7, 2.0),
        (0.42, 0.7, 2.0),
    ]
    without = _summary(2, trial("c", 0.3, None))
    assert (without.validation_loss, without.epochs) == (0.3, 3.5)


@pytest.mark.integration
def test_a_search_finds_the_signal_and_goes_on_where_it_was(
    local_ray: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    found = search(small(), PLAN, str(tmp_path), None)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(PROGRESS)]
    assert json.loads(lines[-1].removeprefix(PROGRESS))["done"] == PLAN.trials
    assert len({trial.trial_id for trial in found.trials}) == PLAN.trials
    assert {trial.status for trial in found.trials} <= {"finished", "stopped"}
    assert found.best.validation_loss == min(trial.validation_loss or 9.0 for trial in found.trials)
    again = search(small(), replace(PLAN), str(tmp_path), None)
    assert again.trials == found.trials
    assert again.loop.progress == found.loop.progress
    for state in tmp_path.rglob("experiment_state-*.json"):
        state.unlink()
    begun = search(small(), replace(PLAN), str(tmp_path), None)
    assert len(begun.trials) == PLAN.trials, "killed before its first state was written"


class Killer(ProgressPrinter):
    """Kills the trial's process when so many parts have been reported, once."""

    after = 0
    killed: ClassVar[list[int]] = []

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Count parts, then kill."""
        super().on_trial_result(iteration, trials, trial, result)
        if result["part"] == self.after and not self.killed:
            self.killed.append(result["pid"])
            os.kill(result["pid"], signal.SIGKILL)


@pytest.mark.drill
def test_a_killed_trial_ends_like_an_undisturbed_one(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    plan = SearchPlan(trials=1, epochs=4, seed=3, max_concurrent=1)
    undisturbed = search(small(), plan, str(tmp_path / "undisturbed"), None)
    # Anywhere: before the first checkpoint it starts again, after it goes on from there.
    monkeypatch.setattr(Killer, "after", random.randint(1, 2 * plan.epochs - 1))
    monkeypatch.setattr(Killer, "killed", [])
    monkeypatch.setattr("include.training.tune.ProgressPrinter", Killer)
    killed = search(small(), plan, str(tmp_path / "killed"), None)
    assert len(Killer.killed) == 1, f"never got to part {Killer.after}"
    one, other = undisturbed.best, killed.best
    assert (one.validation_skill, one.validation_loss) == (other.validation_skill, other.validation_loss)
    assert undisturbed.loop.progress == killed.loop.progress, f"killed after part {Killer.after}"
    for name, weights in undisturbed.loop.best_network().state_dict().items():
        assert torch.equal(weights, killed.loop.best_network().state_dict()[name]), name


LONGER = SearchPlan(trials=24, epochs=4, seed=5, max_concurrent=1)
SEARCH = """
import sys
from tests.training.test_tune import LONGER, small
from include.training.tune import connect_ray, search
connect_ray()
search(small(), LONGER, sys.argv[1], None)
"""


def trials_done(line: str) -> int:
    """How many trials a line of the log says are done."""
    return int(json.loads(line.removeprefix(PROGRESS))["done"]) if line.startswith(PROGRESS) else 0


def saved_as_done(storage: Path) -> bool:
    """Whether the search's saved state has a trial that is done."""
    return any("TERMINATED" in path.read_text() for path in storage.glob("tune/experiment_state-*.json"))


@pytest.mark.drill
def test_a_killed_search_keeps_its_finished_trials(
    local_ray: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", SEARCH, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPO_ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert any(saved_as_done(tmp_path) for _ in first.stdout), "the search ended before a trial was saved as done"
        # The cluster of its own dies with it, as with its machine.
        for process in [*psutil.Process(first.pid).children(recursive=True), psutil.Process(first.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    capfd.readouterr()
    found = search(small(), LONGER, str(tmp_path), None)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(PROGRESS)]
    assert 1 <= trials_done(lines[0]) < LONGER.trials, "a finished trial was lost, or nothing was left to do"
    assert len({trial.trial_id for trial in found.trials}) == LONGER.trials
    assert all(trial.validation_loss is not None for trial in found.trials)
