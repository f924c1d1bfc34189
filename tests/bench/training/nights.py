"""Ten nights in a row: continue from yesterday's weights, retrain on the window, or never train again.

Each night has the labels of the days up to the one before yesterday's end, as in production: a day's labels close one
day later. Scored is the day that follows the night. All three begin with the same network. It knows the loop: not
searches, whose configuration it is given.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from include.bundle.bundle import Predictor
from include.search import SearchSpace
from include.target import BINARY
from include.training.dataset import Dataset
from include.training.finish import finish
from include.training.metrics import Quality, quality
from tests.bench.training.material import Year

SPACE = SearchSpace()
STRATEGIES = ("continue", "retrain", "never")
WINDOW_DAYS, VALIDATION_DAYS = 60, 7
#: From the night until the day that is scored: the labels of the day in between are not closed yet.
CLOSING_DAYS = 1


@dataclass(frozen=True)
class Night:
    """What each strategy's network was worth on the day after a night, and the seconds that it trained."""

    day: str
    figures: Mapping[str, Quality]
    seconds: Mapping[str, float]


def trained(
    dataset: Dataset, year: Year, config: Mapping[str, Any], epochs: int, start: Predictor | None
) -> tuple[Predictor, float]:
    """One night's training: until validation stops improving, then once more with the validation days."""
    started = time.perf_counter()
    material, cpu = year.material(dataset, start), torch.device("cpu")
    loop = material.begin(config, epochs, 0, *material.tensors(cpu))
    while not loop.finished:
        loop.run_part()
    return finish(loop, material, dataset.validation.days, cpu).final, time.perf_counter() - started


def simulate(year: Year, first: date, nights: int, epochs: int) -> list[Night]:
    """The nights in order; ``first`` is the first day that is scored."""
    found: list[Night] = []
    models: dict[str, Predictor] = {}
    for number in range(nights):
        scored = first + timedelta(days=number)
        # The test span is the day whose labels are not closed yet, and the scored one.
        held_back = 1 + CLOSING_DAYS
        dataset = year.window(scored, WINDOW_DAYS + held_back, VALIDATION_DAYS, held_back)
        seconds = dict.fromkeys(STRATEGIES, 0.0)
        if not models:
            first_model, took = trained(dataset, year, SPACE.first, epochs, None)
            models, seconds = dict.fromkeys(STRATEGIES, first_model), dict.fromkeys(STRATEGIES, took)
        else:
            models["retrain"], seconds["retrain"] = trained(dataset, year, SPACE.first, epochs, None)
            models["continue"], seconds["continue"] = trained(
                dataset, year, SPACE.continued_first, epochs, models["continue"]
            )
        rows = dataset.test.between(scored.isoformat(), scored.isoformat())
        figures = {name: quality(BINARY, rows.labels, model.answers(rows.columns)) for name, model in models.items()}
        found.append(Night(scored.isoformat(), figures, seconds))
        print(lines_of(found[-1]), flush=True)
    return found


def lines_of(night: Night) -> str:
    """One line of the table."""
    figures = [f"{night.figures[name].skill:.4f} / {night.figures[name].loss:.4f}" for name in STRATEGIES]
    return f"| {night.day} | " + " | ".join([*figures, *(f"{night.seconds[n]:.0f}" for n in STRATEGIES[:2])]) + " |"


def report(nights: list[Night]) -> list[str]:
    """The table and the means."""
    head = "| day | continue AUC / log-loss | retrain | never | continue s | retrain s |"

    def mean(name: str, metric: str) -> float:
        return float(np.mean([getattr(night.figures[name], metric) for night in nights]))

    means = [f"{mean(name, 'skill'):.4f} / {mean(name, 'loss'):.4f}" for name in STRATEGIES]
    return [head, "|" + "---|" * 6, *map(lines_of, nights), "| mean | " + " | ".join([*means, "", ""]) + " |"]


def plot(nights: list[Night], path: Path) -> None:
    """AUC of each strategy on each following day, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name in STRATEGIES:
        axes.plot([n.day[5:] for n in nights], [n.figures[name].skill for n in nights], marker="o", label=name)
    axes.set(
        xlabel="scored day of 2013", ylabel="AUC", title=f"{len(nights)} nights, each scored on the day that follows"
    )
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
