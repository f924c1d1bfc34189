"""A small search with real Ray Tune: its log tells the sensor how it stands, and it goes on where it was."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch

from include.training.encoding import Encoders
from include.training.log_lines import PROGRESS
from include.training.progress import progress
from include.training.tune import Material, SearchPlan, connect_ray, search
from tests.training.synthetic import FEATURES, days, rows

PLAN = SearchPlan(trials=3, epochs=3, seed=5, max_concurrent=1)


def material() -> Material:
    data = rows(day_count=3, per_day=400)
    train, validation = data.on(days(3)[:2]), data.on(days(3)[2:])
    encoders = Encoders.fit(FEATURES, train.columns, bins=8)
    spans = [(encoders.encode(part.columns), part.labels) for part in (train, validation)]
    return Material(encoders, spans[0], spans[1])


def test_progress_counts_trials_and_names_the_best() -> None:
    def trial(status: str, loss: float | None) -> SimpleNamespace:
        result = {"best_log_loss": loss, "best_auc": 0.7} if loss else {}
        return SimpleNamespace(status=status, last_result=result)

    trials = [trial("TERMINATED", 0.4), trial("RUNNING", 0.3), trial("ERROR", None), trial("PENDING", None)]
    assert progress(trials, 8) == {
        "done": 1,
        "running": 1,
        "failed": 1,
        "trials": 8,
        "best": {"validation_auc": 0.7, "validation_log_loss": 0.3},
    }


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    connect_ray()
    yield
    ray.shutdown()


@pytest.mark.integration
def test_a_search_finds_the_signal_and_goes_on_where_it_was(
    local_ray: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    found = search(material(), PLAN, str(tmp_path), None)
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith(PROGRESS)]
    assert json.loads(lines[-1].removeprefix(PROGRESS))["done"] == PLAN.trials
    assert len({trial.trial_id for trial in found.trials}) == PLAN.trials
    assert {trial.status for trial in found.trials} <= {"finished", "stopped"}
    assert found.best.validation_log_loss == min(trial.validation_log_loss or 9.0 for trial in found.trials)
    again = search(material(), replace(PLAN), str(tmp_path), None)
    assert again.trials == found.trials
    assert again.loop.progress == found.loop.progress
