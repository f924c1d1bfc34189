"""The network against its rivals on a year of real flights: ``make bench-training``.

    python -m tests.bench.training [--only PART,PART] [--trials 8] [--seeds 5]

Prints Markdown tables. Parts: quality, rivals, search, nightly, nights, features, precision, and ``backbones``, which
runs only when it is named: it takes a quarter of an hour. The year's tables are made once under
``.local/bench-training``.
"""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import ray
import torch

from include.training.dataset import Dataset
from include.training.material import Material
from include.training.tune import SearchPlan, connect_ray
from local_stack.layout import REPO_ROOT
from tests.bench.training import backbones, features, nightly, nights, precision, quality, searching
from tests.bench.training.material import TEST_FROM, VALIDATE_FROM, Year, write_for_rivals
from tests.bench.training.rivals import rivals_python, run_rival, seconds_to

FOLDER = REPO_ROOT / ".local" / "bench-training"
METHODS = ("realmlp-td-no-smoothing", "tabm-d")
DEFAULT_PARTS = ("quality", "rivals", "search", "nightly", "nights", "features", "precision")
#: The parts that search on a Ray which they find running; the nightly run starts its own.
SEARCHING = ("quality", "rivals", "search")


@dataclass(frozen=True)
class Options:
    """What to measure, and how much of it."""

    only: Sequence[str]
    trials: int
    search_trials: int
    seeds: int
    epochs: int
    factor: float


class Bench:
    """The parts, and what several of them need."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.storage = folder / "searches"

    @cached_property
    def year(self) -> Year:
        """The tables of 2013."""
        return Year.open(self.folder / "year")

    @cached_property
    def dataset(self) -> Dataset:
        """The published split."""
        return self.year.dataset(VALIDATE_FROM, TEST_FROM)

    @cached_property
    def material(self) -> Material:
        """The published split, encoded."""
        return self.year.material(self.dataset)

    @cached_property
    def tuned(self) -> quality.Tuned:
        """Both searches on the published split."""
        plan = SearchPlan(self.options.trials, self.options.epochs, seed=0)
        threads = os.cpu_count() or 1
        return quality.tune_both(self.dataset, self.material, plan, self.storage / "quality", threads)

    def quality(self) -> list[str]:
        """Our network and LightGBM over several seeds."""
        seeds = [quality.measure_seed(self.tuned, self.dataset, self.material, n) for n in range(self.options.seeds)]
        return quality.report(self.tuned, seeds)

    def rivals(self) -> list[str]:
        """pytabkit's methods until they are as good as one training of ours, or out of time."""
        seconds, ours = quality.one_training(self.tuned, self.dataset, self.material)
        lines = ["| method | s to our accuracy | epochs | s trained | test AUC | test log-loss |", "|" + "---|" * 6]
        lines.append(f"| ours | {seconds:.0f} | | {seconds:.0f} | {ours.skill:.4f} | {ours.loss:.4f} |")
        data = self.folder / "rivals-data"
        write_for_rivals(self.dataset, self.material.encoders, data)
        for method in METHODS:
            out, limit = self.folder / f"{method}.json", self.options.factor * seconds
            curve = run_rival(rivals_python(), data, method, 0, os.cpu_count() or 1, limit, out)
            reached = seconds_to(curve, ours.skill, ours.loss)
            best = min(curve.curve, key=lambda point: point.validation_log_loss, default=None)
            figures = f"{best.test_auc:.4f} | {best.test_log_loss:.4f}" if best else "| "
            said = f"{reached:.0f}" if reached is not None else f"not within {limit:.0f}"
            lines.append(f"| {method} | {said} | {curve.epochs} | {curve.fit_seconds:.0f} | {figures} |")
        return lines

    def search(self) -> list[str]:
        """Trials an hour beside plain Ray Tune."""
        dataset = self.year.window(nightly.LAST, nightly.WINDOW_DAYS, validation_days=9, test_days=12)
        material = self.year.material(dataset)
        plan = SearchPlan(self.options.search_trials, self.options.epochs, seed=0)
        fast = searching.ours(material, plan, self.storage / "fast")
        return searching.report(fast, searching.plain(material, plan, self.storage / "plain"))

    def nightly(self) -> list[str]:
        """A whole nightly run."""
        return nightly.report(*nightly.nightly(self.year, self.options.trials, self.storage / "nightly"))

    def nights(self) -> list[str]:
        """Continue, retrain or never."""
        found = nights.simulate(self.year, date(2013, 10, 10), 10, self.options.epochs)
        nights.plot(found, self.folder / "nights.png")
        return [*nights.report(found), f"plot: {self.folder / 'nights.png'}"]

    def features(self) -> list[str]:
        """What each kind of feature is worth."""
        return features.report(features.steps(self.year.use_case, self.dataset, os.cpu_count() or 1))

    def precision(self) -> list[str]:
        """Whether bfloat16 and the compiler pay."""
        return precision.report(precision.timings(self.material))

    def backbones(self) -> list[str]:
        """Which backbone is worth its cost."""
        return backbones.report(backbones.compare(self.folder / "year", self.options.epochs))

    def run(self) -> None:
        """Measure what was asked for, in order, and print."""
        parts: dict[str, Callable[[], list[str]]] = {
            "quality": self.quality,
            "rivals": self.rivals,
            "search": self.search,
            "nightly": self.nightly,
            "nights": self.nights,
            "features": self.features,
            "precision": self.precision,
            "backbones": self.backbones,
        }
        for name in self.options.only:
            load = os.getloadavg()[0]
            if name in SEARCHING:
                connect_ray()
            lines = parts[name]()
            ray.shutdown()
            print(f"\n## {name} (load before: {load:.1f})\n" + "\n".join(lines) + "\n", flush=True)


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench-training", description="The network against its rivals.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=DEFAULT_PARTS)
    parser.add_argument("--trials", type=int, default=8, help="of every other search")
    parser.add_argument("--search-trials", type=int, default=48, help="of the search beside plain Ray Tune")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--factor", type=float, default=5.0, help="rivals may take so many times as long as we do")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Measure and print."""
    options = parse(sys.argv[1:])
    shutil.rmtree(FOLDER / "searches", ignore_errors=True)
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, torch {torch.__version__}")
    Bench(options, FOLDER).run()


if __name__ == "__main__":
    main()
