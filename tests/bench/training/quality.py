"""Our network beside a LightGBM that was tuned with as many trials, on the published split, over several seeds.

Train January to September, test October to December 2013. August and September validate: the searches, and how long to
train; then both train once more on all nine months, each seed by itself. One network answers, no mean of several. It
knows the search and the rivals: not clocks of other libraries.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from include.bundle.bundle import Predictor
from include.target import BINARY
from include.training.dataset import Dataset
from include.training.finish import refit, validated
from include.training.loop import Loop, build, epochs_of, levelled
from include.training.material import Material
from include.training.metrics import Quality, quality
from include.training.rivals import LightGbm
from include.training.tune import SearchPlan, search


@dataclass(frozen=True)
class Tuned:
    """What both searches found, and the seconds that each took on all cores."""

    loop: Loop
    temperature: float
    lightgbm: LightGbm
    seconds: float
    lightgbm_seconds: float
    config: dict[str, object]


@dataclass(frozen=True)
class Seed:
    """One seed's figures on the test days, and the seconds of its last training."""

    seed: int
    network: Quality
    lightgbm: Quality
    seconds: float
    lightgbm_seconds: float


def tune_both(dataset: Dataset, material: Material, plan: SearchPlan, storage: Path, threads: int) -> Tuned:
    """Search with both, one after the other, each on all cores."""
    started = time.perf_counter()
    found = search(material, plan, str(storage), None)
    seconds = time.perf_counter() - started
    temperature = validated(found.loop, material, dataset.validation.days).temperature
    started = time.perf_counter()
    lightgbm = LightGbm(material, plan.seed, threads, plan.trials)
    boosted = time.perf_counter() - started
    return Tuned(found.loop, temperature, lightgbm, seconds, boosted, dict(found.best.config))


def measure_seed(tuned: Tuned, dataset: Dataset, material: Material, seed: int) -> Seed:
    """Train both once more with a seed, and test them."""
    started = time.perf_counter()
    network = refit(tuned.loop, material, torch.device("cpu"), seed=seed)
    seconds = time.perf_counter() - started
    predictor = Predictor(network, material.encoders, tuned.temperature, target=BINARY)
    started = time.perf_counter()
    booster = tuned.lightgbm.refit(seed)
    boosted = time.perf_counter() - started
    labels, test = dataset.test.labels, dataset.test
    return Seed(
        seed,
        quality(BINARY, labels, predictor.answers(test.columns)),
        quality(BINARY, labels, tuned.lightgbm.answers_of(booster, test)),
        seconds,
        boosted,
    )


def report(tuned: Tuned, seeds: Sequence[Seed]) -> list[str]:
    """The table, a line a seed, then the means."""
    head = "| seed | network AUC | LightGBM AUC | network log-loss | LightGBM log-loss | network s | LightGBM s |"
    lines = [
        f"search: network {tuned.seconds:.0f} s, LightGBM {tuned.lightgbm_seconds:.0f} s; the network trains "
        f"{epochs_of(tuned.loop.progress.best_part):g} epochs, temperature {tuned.temperature:.3f}, {tuned.config}",
        f"LightGBM: {tuned.lightgbm.to_json()}",
        head,
        "|" + "---|" * 7,
    ]
    lines += [row(str(s.seed), [s.network.skill, s.lightgbm.skill, s.network.loss, s.lightgbm.loss], s) for s in seeds]
    means = [
        float(np.mean([getattr(getattr(s, who), metric) for s in seeds]))
        for metric in ("skill", "loss")
        for who in ("network", "lightgbm")
    ]
    errors = (float(np.mean([getattr(s, who).calibration_error for s in seeds])) for who in ("network", "lightgbm"))
    return [*lines, row("mean", means, None), "calibration error: network {:.4f}, LightGBM {:.4f}".format(*errors)]


def row(name: str, figures: Sequence[float], seed: Seed | None) -> str:
    """One line of the table."""
    times = [f"{seed.seconds:.0f}", f"{seed.lightgbm_seconds:.0f}"] if seed else ["", ""]
    return f"| {name} | " + " | ".join([*(f"{figure:.4f}" for figure in figures), *times]) + " |"


def one_training(tuned: Tuned, dataset: Dataset, material: Material) -> tuple[float, Quality]:
    """Seconds of one training without the validation days, as the rivals do theirs, and its figures on the test."""
    cpu = torch.device("cpu")
    started = time.perf_counter()
    train, validation = material.tensors(cpu)
    loop = build(material.encoders, tuned.loop.network.config, tuned.loop.config, train, validation)
    while not loop.finished:
        loop.run_part()
    predictor = Predictor(levelled(loop.best_network(), train), material.encoders, 1.0, target=BINARY)
    seconds = time.perf_counter() - started
    return seconds, quality(BINARY, dataset.test.labels, predictor.answers(dataset.test.columns))
