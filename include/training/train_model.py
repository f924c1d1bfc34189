"""One training run, from closed days to a candidate bundle. Runs as a Ray job, or alone on one machine.

    python -m include.training.train_model --use-case USE_CASE --from 2013-01-01 --to 2013-01-28 \\
        --trials 8 --run-id manual-1

Pins table versions and the champion, searches, calibrates, trains the best once more with the validation days,
evaluates on the test days beside the rivals, writes the bundle with its model card, broadcasts the figures, and prints
``LAMBDA_DL_RESULT {json}`` last. Run again with the same run id and arguments it goes on from where it was, and a
finished run only broadcasts again. It does not decide whether the candidate is promoted.
"""

import argparse
import gzip
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow.fs

from include.broadcast import Announce, announcer, rfc3339
from include.bundle.bundle import Bundle, BundleError, Contents, Predictor, canonical, write_bundle
from include.bundle.store import ObjectMissing, ObjectStore, S3Store
from include.champion import days_learned, load_champion, overlap
from include.ledger import champion
from include.locations import LANDING_BUCKET, MODELS_BUCKET, Models, Topics, reference_key
from include.search import SearchSpace
from include.settings import KafkaSettings, S3Settings, SettingError
from include.target import Target
from include.training import messages
from include.training.dataset import (
    Dataset,
    DatasetError,
    Split,
    Tables,
    closed_days,
    load_dataset,
    pin_versions,
    split_days,
)
from include.training.evaluation import (
    BASE_RATE,
    CANDIDATE,
    CHAMPION,
    LIGHTGBM,
    Answering,
    Evaluation,
    evaluate,
)
from include.training.finish import Finished, finish
from include.training.log_lines import RESULT
from include.training.loop import best_device, epochs_of
from include.training.material import Material
from include.training.model_card import Story, model_card
from include.training.provenance import provenance
from include.training.recipe import Team
from include.training.rivals import LightGbm, base_rate
from include.training.scratch import Scratch, scratch_from_environment
from include.training.tune import SearchPlan, SearchResult, cluster_has, connect_ray, s3_filesystem, search
from include.use_case import UseCase, load_use_case

SELF_CHECK_ROWS = 32
STARTS = ("fresh", "champion")


@dataclass(frozen=True)
class Request:
    """What to train: the window (inclusive), how to split it, and how much to search."""

    use_case: str
    from_day: str
    to_day: str
    #: Days of the window that are left out, rising, with commas between.
    without: str
    run_id: str
    trials: int
    epochs: int
    seed: int
    test_days: int | None
    validation_days: int | None
    time_budget_s: float | None
    #: "fresh", or "champion": go on from the champion's weights, with its encoders and architecture.
    start: str
    #: Processes that share the last training; 0: one for each GPU of the cluster.
    workers: int


@dataclass(frozen=True)
class Pins:
    """What the first attempt of a run saw and every other attempt keeps to, whatever happens in between."""

    versions: Mapping[str, int]
    champion: str | None


@dataclass(frozen=True)
class Systems:
    """The systems a training run talks to. ``storage`` is the folder in ``filesystem`` under which searches lie."""

    models: ObjectStore
    landing: ObjectStore
    tables: Tables
    announce: Announce
    storage: str
    filesystem: pyarrow.fs.FileSystem | None

    @classmethod
    def from_environment(cls, use_case: str) -> "Systems":
        """Connect by the settings in the environment."""
        s3, kafka = S3Settings.from_environment(), KafkaSettings.from_environment()
        return cls(
            models=S3Store(s3, MODELS_BUCKET),
            landing=S3Store(s3, LANDING_BUCKET),
            tables=Tables.on_s3(use_case, s3),
            announce=announcer(kafka),
            storage=MODELS_BUCKET,
            filesystem=s3_filesystem(s3),
        )


@dataclass(frozen=True)
class Rivals:
    """Whom the candidate is compared with; ``note`` says why there is no champion, or what favours it."""

    lightgbm: LightGbm
    champion: Bundle | None
    note: str

    @property
    def champion_id(self) -> str:
        """The champion that was compared with; empty if none was."""
        return self.champion.model_id if self.champion else ""


class Stages:
    """How long each stage took, said as it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def done(self, name: str, detail: str) -> None:
        """A stage is over."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now
        print(f"{name}: {detail} ({self.seconds[name]:.1f} s)", flush=True)


def train(request: Request, systems: Systems, use_case: UseCase) -> dict[str, Any]:
    """Run, or finish, a training run; returns the result that is also kept in the models bucket."""
    result_key = Models(request.use_case).search_prefix(request.run_id) + "result.json"
    result = _finished(systems.models, result_key, request)
    if result is None:
        with scratch_from_environment() as scratch:
            result = _train(request, systems, use_case, scratch)
        systems.models.put(result_key, canonical(result))
    else:
        print(f"run {request.run_id} has finished before: its figures are broadcast again", flush=True)
    topic = Topics(request.use_case).metrics
    systems.announce(topic, [(message["metric_id"], message) for message in result["messages"]])
    return result


def _finished(models: ObjectStore, key: str, request: Request) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads(models.get(key))
    except ObjectMissing:
        return None
    # Runs of earlier releases left no day out.
    if {"without": ""} | result["request"] != asdict(request):
        raise DatasetError(f"run id {request.run_id!r} was used with other arguments: choose another run id")
    return result


def _train(request: Request, systems: Systems, use_case: UseCase, scratch: Scratch) -> dict[str, Any]:
    stages = Stages()
    pins, dataset = _read(request, systems, use_case, scratch)
    sizes = {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)}
    stages.done("dataset", f"rows {sizes}, {len(use_case.features.features)} features, versions {dataset.versions}")
    former, note = _champion(systems.models, use_case, pins)
    continued, seen = None, 0
    if request.start == "champion":
        continued, seen, words = _predecessor(systems.models, use_case, former, note, dataset.split)
        print(words, flush=True)
    predecessor = continued.predictor if continued else None
    material = Material.following(predecessor, use_case.features, dataset.train, dataset.validation, scratch)
    dataset = dataset.once_encoded()
    encoders = material.encoders
    stages.done("encoding", f"{len(encoders.numeric)} numeric and {len(encoders.category)} categorical encoders")
    found = _search(request, systems, use_case.search, material)
    stages.done("search", f"{len(found.trials)} trials, {_best_words(use_case, found)}")
    team = _team(request, systems)
    finished = finish(found.loop, material, dataset.validation.days, best_device(), team)
    stages.done(
        "refit", f"{epochs_of(found.loop.progress.best_part):g} epochs, temperature {finished.final.temperature:.3f}"
    )
    lightgbm = _lightgbm(request, material, found)
    rivals = Rivals(lightgbm, former, overlap(systems.models, former, dataset.split.test) if former else note)
    stages.done("rivals", f"LightGBM: {lightgbm.trials} of {lightgbm.asked} trials; {rivals.note or 'a champion'}")
    evaluation = _evaluate(finished, rivals, dataset, use_case, request.seed)
    stages.done(
        "evaluation", f"intervals from {evaluation.resamples} resamples of {evaluation.units} {evaluation.unit}s"
    )
    lineage = _lineage(request, pins, continued, dataset, found, team) | {"validation_days_seen": seen}
    return _write(request, systems, use_case, dataset, found, finished.final, rivals, evaluation, lineage, stages)


def _read(request: Request, systems: Systems, use_case: UseCase, scratch: Scratch) -> tuple[Pins, Dataset]:
    """The dataset at the versions that the first attempt of this run could train on, and the champion it saw.

    An attempt that finds too little pins nothing: once more days are closed, the same run can be tried again.
    """
    key = Models(request.use_case).search_prefix(request.run_id) + "pins.json"
    try:
        pins = Pins(**json.loads(systems.models.get(key)))
    except ObjectMissing:
        head = champion(systems.models, request.use_case)
        pins = Pins(pin_versions(systems.tables), head.model_id if head else None)
    dataset = _read_at(pins.versions, request, systems, use_case, scratch)
    systems.models.put_if_absent(key, canonical(asdict(pins)))
    return pins, dataset


def _read_at(
    versions: Mapping[str, int], request: Request, systems: Systems, use_case: UseCase, scratch: Scratch
) -> Dataset:
    window = date.fromisoformat(request.from_day), date.fromisoformat(request.to_day)
    closed = closed_days(systems.tables, versions, *window)
    asked = (window[1] - window[0]).days + 1
    if len(closed) < asked:
        print(f"{asked - len(closed)} of {asked} days have no closed labels and are left out", flush=True)
    days = [ds for ds in closed if ds not in request.without.split(",")]
    if request.without:
        print(f"left out as was asked: {request.without}", flush=True)
    split = split_days(days, request.validation_days, request.test_days)
    return load_dataset(systems.tables, versions, use_case.features, use_case.target, split, scratch)


def _champion(models: ObjectStore, use_case: UseCase, pins: Pins) -> tuple[Bundle | None, str]:
    """The pinned champion's bundle, or ``None`` and why."""
    try:
        return load_champion(models, use_case, pins.champion)
    except (BundleError, ObjectMissing) as error:
        # The gate will stop at it; hours of search need not.
        return None, f"the champion cannot be loaded: {error}"


def _predecessor(
    models: ObjectStore, use_case: UseCase, former: Bundle | None, note: str, split: Split
) -> tuple[Bundle | None, int, str]:
    """The champion to go on from, how many validation days its weights have learned from, and what to say of it.

    None where they have learned from test days: the candidate would be judged on what it knows.
    """
    if former is None:
        return None, 0, f"starting afresh: {note}"
    learned = days_learned(models, use_case.name, former.model_id)
    known = learned & set(split.test)
    if known:
        return None, 0, f"starting afresh: the champion's weights have learned from {len(known)} of the test days"
    seen = len(learned & set(split.validation))
    of = f", which has learned from {seen} of {len(split.validation)} validation days" if seen else ""
    return former, seen, f"going on from {former.model_id[:12]}{of}"


def _search(request: Request, systems: Systems, space: SearchSpace, material: Material) -> SearchResult:
    plan = SearchPlan(request.trials, request.epochs, request.seed, request.time_budget_s, space=space)
    connect_ray()
    return search(material, plan, _storage(request, systems), systems.filesystem)


def _storage(request: Request, systems: Systems) -> str:
    return f"{systems.storage}/{Models(request.use_case).search_prefix(request.run_id)}".rstrip("/")


def _team(request: Request, systems: Systems) -> Team | None:
    """Who trains last: this process, or several where that was asked for or the cluster has several GPUs."""
    workers = request.workers or cluster_has("GPU")
    return Team(workers, _storage(request, systems), systems.filesystem) if workers > 1 else None


def _lightgbm(request: Request, material: Material, found: SearchResult) -> LightGbm:
    cores = len(os.sched_getaffinity(0))  # what this process may use, fewer than the machine's where it is pinned
    # What the trials took stays known when a run goes on after its search: so does LightGBM's share of time.
    seconds = sum(trial.seconds for trial in found.trials) / min(cores, len(found.trials))
    return LightGbm(material, request.seed, threads=cores, trials=request.trials, time_limit_s=seconds)


def _evaluate(finished: Finished, rivals: Rivals, dataset: Dataset, use_case: UseCase, seed: int) -> Evaluation:
    """Each split by models that have not seen it: the last training, and LightGBM's, saw the validation days."""

    def roles(predictor: Predictor, boosted: Answering) -> dict[str, Answering]:
        former = rivals.champion
        champions = {CHAMPION: lambda rows: former.answers(rows.columns)} if former else {}
        return {
            CANDIDATE: lambda rows: predictor.answers(rows.columns),
            **champions,
            BASE_RATE: lambda rows: base_rate(dataset.train, rows),
            LIGHTGBM: boosted,
        }

    validation = roles(finished.validated, rivals.lightgbm.validated_answers)
    test = roles(finished.final, rivals.lightgbm.answers)
    evaluation = evaluate(validation, test, dataset, use_case.slices, seed)
    print("\n".join(evaluation.lines()), flush=True)
    return evaluation


def _write(
    request: Request,
    systems: Systems,
    use_case: UseCase,
    dataset: Dataset,
    found: SearchResult,
    predictor: Predictor,
    rivals: Rivals,
    evaluation: Evaluation,
    lineage: Mapping[str, Any],
    stages: Stages,
) -> dict[str, Any]:
    story = Story(
        use_case=use_case,
        dataset=dataset,
        trials=found.trials,
        best=found.best,
        predictor=predictor,
        lightgbm=rivals.lightgbm.to_json(),
        champion=rivals.champion_id,
        champion_note=rivals.note,
        lineage=lineage,
    )
    contents = Contents(
        features=use_case.features,
        predictor=predictor,
        references=_references(systems.landing, use_case),
        self_check=dataset.test.at(slice(0, SELF_CHECK_ROWS)).columns,
        metrics=evaluation.to_json(),
        lineage=lineage,
        card=model_card(story, evaluation),
    )
    model_id = write_bundle(systems.models, request.use_case, contents)
    stages.done("bundle", f"{systems.models.url}/{Models(request.use_case).bundle_prefix(model_id)}")
    ids = {CANDIDATE: model_id, CHAMPION: rivals.champion_id}
    return {
        "request": asdict(request),
        "model_id": model_id,
        "rows": {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)},
        "features": len(use_case.features.features),
        "split": dataset.split.to_json(),
        "metrics": evaluation.to_json(),
        "trials": [trial.to_json() for trial in found.trials],
        "seconds": stages.seconds,
        "messages": _messages(request, use_case.target, ids, dataset, found, evaluation),
    }


def _best_words(use_case: UseCase, found: SearchResult) -> str:
    return f"best validation {use_case.target.skill.words} {found.best.validation_skill:.4f}"


def _references(landing: ObjectStore, use_case: UseCase) -> dict[str, bytes]:
    names = [reference.name for reference in use_case.features.references]
    return {name: gzip.decompress(landing.get(reference_key(use_case.name, name))) for name in names}


def _lineage(
    request: Request,
    pins: Pins,
    continued: Bundle | None,
    dataset: Dataset,
    found: SearchResult,
    team: Team | None,
) -> dict[str, Any]:
    return {
        "run_id": request.run_id,
        "request": asdict(request),
        "tables": dict(dataset.versions),
        "split": dataset.split.to_json(),
        "train_mean_label": float(dataset.train.labels.mean()),
        "config": dict(found.best.config),
        "trial_id": found.best.trial_id,
        "seed": request.seed,
        "epochs": epochs_of(found.loop.progress.best_part),
        "parent": pins.champion,
        "continued_from": continued.model_id if continued else None,
        **provenance(team.workers if team else 1),
    }


def _messages(
    request: Request,
    target: Target,
    ids: Mapping[str, str],
    dataset: Dataset,
    found: SearchResult,
    evaluation: Evaluation,
) -> list[dict[str, Any]]:
    now = rfc3339(datetime.now(UTC))
    name, run_id = request.use_case, request.run_id
    days = {"validation": dataset.split.validation, "test": dataset.split.test}
    trials = [messages.training_run(name, target, run_id, now, trial) for trial in found.trials]
    figures = [
        messages.model_quality(name, run_id, now, ids.get(role, ""), role, split, days[split], q)
        for split, roles in evaluation.figures.items()
        for role, q in roles.items()
    ]
    return [*trials, *figures]


def parse(arguments: Sequence[str]) -> Request:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="train_model", description="Train a candidate on a window of closed days.")
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--from", dest="from_day", required=True, type=_day, help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="to_day", required=True, type=_day, help="last day, YYYY-MM-DD")
    parser.add_argument("--without", default="", type=_days, help="days to leave out, with commas between")
    parser.add_argument("--run-id", required=True, help="identity of the run; the same again goes on from where it was")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8, help="most epochs of a trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-days", type=int, help="default: the last fifth of the days, 28 at most")
    parser.add_argument("--validation-days", type=int, help="default: a seventh of the days, before them, 28 at most")
    parser.add_argument("--time-budget-s", type=float, help="stop the search after so many seconds")
    parser.add_argument(
        "--start", choices=STARTS, default="fresh", help="afresh, or from the champion's weights (if there is one)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that share the last training (default: one for each GPU)"
    )
    request = Request(**vars(parser.parse_args(arguments)))
    if request.from_day > request.to_day:
        parser.error(f"--from {request.from_day} is after --to {request.to_day}")
    if request.trials < 1 or request.epochs < 1 or request.workers < 0:
        parser.error("--trials and --epochs must be at least 1, --workers at least 0")
    return request


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _days(text: str) -> str:
    return ",".join(sorted({_day(word) for word in text.split(",") if word}))


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result without its bulk, for the last line of the log."""
    return {name: result[name] for name in ("model_id", "rows", "features", "metrics", "seconds")} | {
        "run_id": result["request"]["run_id"],
        "trials": len(result["trials"]),
        "best_validation_skill": max((t["validation_skill"] or 0.0 for t in result["trials"]), default=0.0),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: prints progress, and the result as the last line; exit status 2 for errors the user can mend."""
    logging.basicConfig(level=logging.WARNING)
    request = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        result = train(request, Systems.from_environment(request.use_case), load_use_case(request.use_case))
    except (DatasetError, SettingError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    print(f"{RESULT} {json.dumps(summary(result))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
