"""The search: Ray Tune with successive halving and Optuna over the loop, several configurations per process.

Trials share one copy of the data in the object store and reuse their actors, so a configuration costs no start-up.
The search is kept under a storage path and goes on from there after a crash. It knows configurations and validation
figures: not where rows come from, nor the test days.
"""

import json
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from include.search import Choice, SearchSpace, Space, Uniform
from include.settings import S3Settings
from include.target import Target
from include.training.halving import Halving
from include.training.loop import EIGHTHS, FIRST_EIGHTHS, Loop, best_device, eighths_of
from include.training.material import Material
from include.training.progress import ProgressPrinter
from include.training.trial import TrialSummary

METRIC = "best_loss"
#: A trial may be given up after its first part, and again whenever it has had ``REDUCTION`` times as much: of every
#: ``REDUCTION`` trials only the best goes on.
REDUCTION = 4
CHECKPOINT_EVERY = 4
#: The search's saved state is a moment old and may name the checkpoint before the newest: it must still be there.
CHECKPOINTS_KEPT = 2
#: Trials that share one GPU: small networks leave most of it idle.
TRIALS_PER_GPU = 4
EXPERIMENT = "tune"


@dataclass(frozen=True)
class SearchPlan:
    """How much to search, and where. ``max_concurrent`` 0 means one trial per CPU of the cluster."""

    trials: int
    epochs: int
    seed: int
    time_budget_s: float | None = None
    max_concurrent: int = 0
    space: SearchSpace = field(default_factory=SearchSpace)


@dataclass(frozen=True)
class SearchResult:
    """Every trial, the best one's id and configuration, and its loop with the best weights."""

    trials: tuple[TrialSummary, ...]
    best: TrialSummary
    loop: Loop


class SearchFailed(RuntimeError):
    """No trial finished; the message has the first error."""


class TuneTrial(tune.Trainable):
    """One configuration at a time in a process that lives for many."""

    def setup(self, config: dict[str, Any], material: Material | None = None, plan: SearchPlan | None = None) -> None:
        """Put the rows on the device once, then begin the first configuration."""
        assert material is not None and plan is not None
        torch.set_num_threads(1)
        self.material, self.plan = material, plan
        self.train_rows, self.validation_rows = material.tensors(best_device())
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another configuration in the same process."""
        self.loop = self.material.begin(
            new_config, self.plan.epochs, self.plan.seed, self.train_rows, self.validation_rows
        )
        return True

    def step(self) -> dict[str, Any]:
        """One part of an epoch."""
        result = self.loop.run_part()
        progress = self.loop.progress
        return {
            **asdict(result),
            METRIC: progress.best_loss,
            "best_skill": progress.best_skill,
            "eighths": eighths_of(progress.part),
            "finished": self.loop.finished,
            "done": self.loop.finished,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the loop."""
        self.loop.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a saved loop."""
        self.loop.restore(Path(checkpoint))


def param_space(space: Space) -> dict[str, Any]:
    """A declared space as Ray Tune takes it."""
    return {name: _domain(values) for name, values in space.items()}


def _domain(values: Uniform | Choice) -> Any:
    if isinstance(values, Choice):
        return tune.choice(list(values.values))
    return (tune.loguniform if values.log else tune.uniform)(values.low, values.high)


def quiet() -> None:
    """Less of Ray's own noise in the job's log; must run before ``ray.init``."""
    for name, value in {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # Every second at most: a search that is killed goes on from what was saved, and a trial takes seconds.
        "TUNE_GLOBAL_CHECKPOINT_S": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


def connect_ray() -> None:
    """Join the cluster that this job runs on, or start a small local one when there is none.

    Ray's job manager sets ``RAY_ADDRESS`` to the cluster's own address; the dashboard's URL, which clients of the
    job API use, is no cluster to join.
    """
    quiet()
    address = os.environ.get("RAY_ADDRESS", "")
    if address and not address.startswith("http"):
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        return
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        object_store_memory=200_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def s3_filesystem(settings: S3Settings) -> pyarrow.fs.FileSystem:
    """The object store as Ray Tune's storage."""
    scheme, _, host = settings.endpoint.partition("://")
    return pyarrow.fs.S3FileSystem(
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        endpoint_override=host,
        scheme=scheme,
        region=settings.region,
    )


def search(
    material: Material, plan: SearchPlan, storage: str, filesystem: pyarrow.fs.FileSystem | None
) -> SearchResult:
    """Search, or go on with the search that lies under ``storage``; raises ``SearchFailed`` if every trial failed."""
    trainable = _trainable(material, plan)
    # The architecture is given when there is a network to go on from.
    space = plan.space.continued if material.start else plan.space.fresh
    first = plan.space.continued_first if material.start else plan.space.first
    path = f"{storage.rstrip('/')}/{EXPERIMENT}"
    if can_go_on(path, filesystem):
        print(f"the search under {path} exists: going on with it", flush=True)
        tuner = tune.Tuner.restore(
            path,
            trainable,
            resume_errored=True,
            param_space=param_space(space),
            storage_filesystem=filesystem,
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=param_space(space),
            tune_config=_tune_config(plan, first),
            run_config=_run_config(plan, material.target, storage, filesystem),
        )
    return _collect(tuner.fit(), material, plan)


def can_go_on(path: str, filesystem: pyarrow.fs.FileSystem | None) -> bool:
    """Whether a search lies there that has begun.

    Ray writes what the search is before the first state of its trials. One that was killed in between it would begin
    anew by itself, but with a single trial.
    """
    if not tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        return False
    found = (filesystem or pyarrow.fs.LocalFileSystem()).get_file_info(pyarrow.fs.FileSelector(path))
    return any(info.base_name.startswith("experiment_state-") for info in found)


def cluster_has(resource: str) -> int:
    """How many CPUs or GPUs the cluster has."""
    return int(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]


def _trainable(material: Material, plan: SearchPlan) -> Any:
    resources = {"cpu": 1.0, "gpu": 1.0 / TRIALS_PER_GPU} if cluster_has("GPU") else {"cpu": 1.0}
    parametrised = tune.with_parameters(TuneTrial, material=material, plan=plan)
    return tune.with_resources(parametrised, resources)


def _tune_config(plan: SearchPlan, first: Mapping[str, Any]) -> tune.TuneConfig:
    return tune.TuneConfig(
        metric=METRIC,
        mode="min",
        num_samples=plan.trials,
        search_alg=OptunaSearch(seed=plan.seed, points_to_evaluate=[dict(first)]),
        scheduler=Halving("eighths", rungs(plan.epochs), REDUCTION),
        max_concurrent_trials=min(plan.max_concurrent or cluster_has("CPU"), plan.trials),
        time_budget_s=plan.time_budget_s,
        reuse_actors=True,
    )


def rungs(epochs: int) -> list[int]:
    """After how many eighths of an epoch trials are given up: the first part, and so many times as much again."""
    found, rung = [], FIRST_EIGHTHS
    while rung < EIGHTHS * epochs:
        found.append(rung)
        rung *= REDUCTION
    return found


def _run_config(
    plan: SearchPlan, target: Target, storage: str, filesystem: pyarrow.fs.FileSystem | None
) -> tune.RunConfig:
    return tune.RunConfig(
        name=EXPERIMENT,
        storage_path=storage,
        storage_filesystem=filesystem,
        verbose=0,
        callbacks=[ProgressPrinter(plan.trials, plan.epochs, target)],
        failure_config=tune.FailureConfig(max_failures=1),
        checkpoint_config=tune.CheckpointConfig(
            num_to_keep=CHECKPOINTS_KEPT, checkpoint_frequency=CHECKPOINT_EVERY, checkpoint_at_end=True
        ),
    )


def _collect(grid: tune.ResultGrid, material: Material, plan: SearchPlan) -> SearchResult:
    trials = [_summary(i, grid[i]) for i in range(len(grid))]
    if len(trials) < plan.trials and plan.time_budget_s is None:
        # What Ray does with a state that it cannot read, without a word.
        raise SearchFailed(f"the search had {len(trials)} of its {plan.trials} trials: train by another run")
    usable = [i for i, trial in enumerate(trials) if trial.validation_loss is not None and grid[i].checkpoint]
    if not usable:
        raise SearchFailed(f"none of {len(trials)} trials finished: {grid.errors[:1]}")
    best = min(usable, key=lambda i: (trials[i].validation_loss, trials[i].trial_id))
    loop = material.begin(trials[best].config, plan.epochs, plan.seed, *material.tensors(torch.device("cpu")))
    checkpoint = grid[best].checkpoint
    assert checkpoint is not None
    with checkpoint.as_directory() as folder:
        loop.restore(Path(folder))
    return SearchResult(tuple(sorted(trials, key=lambda trial: trial.trial_id)), trials[best], loop)


def _summary(index: int, result: Any) -> TrialSummary:
    metrics = result.metrics or {}
    # A search whose time is over stops trials where they are: what can be restored is of an earlier part.
    kept = _of_checkpoint(result) or metrics
    finished = "finished" if metrics.get("finished") else "stopped"
    return TrialSummary(
        trial_id=str(metrics.get("trial_id") or f"trial-{index}"),
        status="failed" if result.error else finished,
        config=json.loads(json.dumps(result.config or {})),
        epochs=float(kept.get("epoch", 0)),
        validation_skill=kept.get("best_skill"),
        validation_loss=kept.get(METRIC),
        seconds=float(metrics.get("time_total_s", 0.0)),
    )


def _of_checkpoint(result: Any) -> Mapping[str, Any]:
    """What a trial had reported when its newest checkpoint was written; nothing if it has none."""
    if result.checkpoint is None:
        return {}
    reported: dict[str, Mapping[str, Any]] = {kept.path: metrics for kept, metrics in result.best_checkpoints or []}
    return reported.get(result.checkpoint.path, {})
