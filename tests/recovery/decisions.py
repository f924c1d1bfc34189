"""Steps of the drill of decisions, each run in a process of its own: training, promotion, rollback, demotion.

Their tables are a small synthetic world's in a local folder; models and ledger lie in the real S3, messages go to the
real Kafka. Nothing here knows who kills it.
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from include import promotion, rollback
from include.broadcast import announcer
from include.bundle.store import DirectoryStore, S3Store
from include.locations import MODELS_BUCKET, Models, reference_key
from include.search import SearchSpace
from include.settings import KafkaSettings, S3Settings
from include.target import BINARY
from include.training.dataset import Tables
from include.training.train_model import Systems, parse, train
from include.training.tune import s3_filesystem
from include.training.window import pin_window
from include.use_case import Gate, Quality, UseCase
from tests.training.synthetic import FEATURES, days, rows, write_tables

WINDOW = "--from 2020-01-01 --to 2020-01-08 --trials 1"


def shops(name: str) -> UseCase:
    """The synthetic use case under another name; its gate lets everything pass but a model that is no better."""
    gate = Gate(minimum_test_rows=1, maximum_calibration_error=1.0, maximum_predict_ms=1000.0)
    parts = {"features": FEATURES, "target": BINARY, "slices": (), "gate": gate, "quality": Quality()}
    about = {"comment": "Will a shop sell?", "search": SearchSpace()}
    return cast(UseCase, SimpleNamespace(name=name, **parts, **about))


def make_world(name: str, folder: Path) -> None:
    """Eight days of facts."""
    write_tables(folder / "lake", rows(day_count=8, per_day=1500), closed=days(8))
    landing = DirectoryStore(folder / "landing")
    landing.put(reference_key(name, "shops"), gzip.compress(b"id,size\n1,2\n"))


def models() -> S3Store:
    """The models bucket."""
    return S3Store(S3Settings.from_environment(), MODELS_BUCKET)


def choose_window(name: str, run_id: str) -> None:
    """Choose the days of a run."""
    pin_window(models(), name, run_id, lambda: {"from": "2020-01-01", "to": "2020-01-08"})


def train_model(name: str, folder: str, run_id: str, epochs: int) -> None:
    """A whole training run."""
    s3, announce = S3Settings.from_environment(), announcer(KafkaSettings.from_environment())
    landing, tables = DirectoryStore(Path(folder) / "landing"), Tables(f"{folder}/lake", {})
    systems = Systems(models(), landing, tables, announce, MODELS_BUCKET, s3_filesystem(s3))
    words = f"--use-case {name} --run-id {run_id} --epochs {epochs} {WINDOW}".split()
    train(parse(words), systems, shops(name))


def trained(name: str, run_id: str) -> str:
    """The model id that a finished training run says."""
    return str(json.loads(models().get(Models(name).search_prefix(run_id) + "result.json"))["model_id"])


def promote(name: str, folder: str, of: str, run_id: str) -> None:
    """Judge the candidate of a training run, and promote it if it passes."""
    systems = promotion.Systems(models(), Tables(f"{folder}/lake", {}), announcer(KafkaSettings.from_environment()))
    promotion.promote(systems, shops(name), trained(name, of), run_id, "ann")


def roll_back(name: str, run_id: str) -> None:
    """Back to the champion before."""
    request = rollback.Request(None, "answers were wrong", "ann", run_id)
    rollback.roll_back(models(), announcer(KafkaSettings.from_environment()), shops(name), untouched, request)


def demote(name: str, of: str, run_id: str) -> None:
    """Take the champion back, since the model of a training run was trained on what is withdrawn."""

    def touched(lineage: Mapping[str, Any]) -> dict[str, list[str]]:
        return {"sales of 2020-01-02": ["2020-01-02"]} if lineage["run_id"] == of else {}

    request = rollback.Request(None, "a file was wrong", "ann", run_id)
    rollback.demote(models(), announcer(KafkaSettings.from_environment()), shops(name), touched, request)


def untouched(lineage: Mapping[str, Any]) -> dict[str, list[str]]:
    """Nothing is withdrawn."""
    return {}
