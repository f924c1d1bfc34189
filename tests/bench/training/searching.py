"""How many trials an hour a search manages, beside plain Ray Tune with one process a trial, and how good both end.

The same rows of a 60-day window, the same space, sampler, seed and number of trials, all cores for both. Plain is what
Ray's first example gives: a function trained to its end, a process of its own for each trial, no scheduler. It knows
the search: not its figures on test days.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from include.training.material import Material
from include.training.tune import METRIC, SearchPlan, cluster_has, param_space, search


@dataclass(frozen=True)
class Speed:
    """One way to search: seconds in all, and the best trial's validation figures."""

    name: str
    trials: int
    seconds: float
    auc: float
    log_loss: float

    @property
    def per_hour(self) -> float:
        """Trials an hour."""
        return 3600 * self.trials / self.seconds


def ours(material: Material, plan: SearchPlan, storage: Path) -> Speed:
    """The search as training runs it."""
    started = time.perf_counter()
    found = search(material, plan, str(storage), None)
    seconds = time.perf_counter() - started
    assert found.best.validation_skill is not None and found.best.validation_loss is not None
    return Speed("lambda-dl", plan.trials, seconds, found.best.validation_skill, found.best.validation_loss)


def train_one(config: dict[str, Any], material: Material, plan: SearchPlan) -> None:
    """One trial to its end, early stopping as ours."""
    torch.set_num_threads(1)
    loop = material.begin(config, plan.epochs, plan.seed, *material.tensors(torch.device("cpu")))
    while not loop.finished:
        loop.run_part()
        tune.report({"best_skill": loop.progress.best_skill, METRIC: loop.progress.best_loss})


def plain(material: Material, plan: SearchPlan, storage: Path) -> Speed:
    """One process per trial, every trial to its end."""
    trainable = tune.with_resources(tune.with_parameters(train_one, material=material, plan=plan), {"cpu": 1.0})
    tuner = tune.Tuner(
        trainable,
        param_space=param_space(plan.space.fresh),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=plan.trials,
            search_alg=OptunaSearch(seed=plan.seed, points_to_evaluate=[dict(plan.space.first)]),
            max_concurrent_trials=cluster_has("CPU"),
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(name="plain", storage_path=str(storage), verbose=0),
    )
    started = time.perf_counter()
    grid = tuner.fit()
    seconds = time.perf_counter() - started
    best = grid.get_best_result(METRIC, "min").metrics or {}
    return Speed("plain Ray Tune", plan.trials, seconds, best["best_skill"], best[METRIC])


def report(fast: Speed, slow: Speed) -> list[str]:
    """The table."""
    lines = ["| search | trials | seconds | trials/hour | best validation AUC | log-loss |", "|" + "---|" * 6]
    lines += [
        f"| {s.name} | {s.trials} | {s.seconds:.0f} | {s.per_hour:.0f} | {s.auc:.4f} | {s.log_loss:.4f} |"
        for s in (fast, slow)
    ]
    ratio, behind = fast.per_hour / slow.per_hour, slow.auc - fast.auc
    return [*lines, f"{ratio:.1f} x the trials an hour; best validation AUC {-behind:+.4f} of plain's"]
