"""A whole nightly run on a 60-day window: data, search, last training, rivals, evaluation, card and bundle.

The code that Ray's job runs, on a Ray of its own, with folders in the place of S3 and nobody to broadcast to. It knows
how long it took: the figures are the run's own.
"""

import gzip
import time
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from include.broadcast import Message
from include.bundle.store import DirectoryStore
from include.training.train_model import Systems, parse, train
from include.use_cases.flight_delay import upstream
from include.use_cases.flight_delay.feeder import reference_files
from tests.bench.training.material import Year

LAST, WINDOW_DAYS = date(2013, 9, 30), 60


def nightly(year: Year, trials: int, folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds from the first read to the bundle, and the run's result."""
    landing = DirectoryStore(folder / "landing")
    for key, content in reference_files(upstream.data_folder()).items():
        landing.put(key, gzip.compress(gzip.decompress(content)))
    models = folder / "models"
    systems = Systems(DirectoryStore(models), landing, year.tables, announce, str(models), None)
    first = LAST - timedelta(days=WINDOW_DAYS - 1)
    span = ["--from", first.isoformat(), "--to", LAST.isoformat(), "--run-id", "bench", "--trials", str(trials)]
    started = time.perf_counter()
    result = train(parse(["--use-case", year.use_case.name, *span]), systems, year.use_case)
    return time.perf_counter() - started, result


def announce(topic: str, messages: Iterable[Message]) -> int:
    """Nobody listens."""
    return len(list(messages))


def report(seconds: float, result: dict[str, Any]) -> list[str]:
    """The stages and the whole."""
    stages = ", ".join(f"{name} {took:.0f} s" for name, took in result["seconds"].items())
    figures = result["metrics"]["test"]
    roles = ", ".join(f"{role} {figures[role]['auc']:.4f} / {figures[role]['log_loss']:.4f}" for role in figures)
    return [f"{len(result['trials'])} trials, {seconds:.0f} s in all: {stages}", f"test AUC / log-loss: {roles}"]
