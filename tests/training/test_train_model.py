"""A whole training run on the synthetic world: candidate, figures, messages; repeating it only broadcasts again."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import ray

from include.broadcast import Message
from include.bundle.bundle import load_bundle
from include.bundle.store import DirectoryStore
from include.locations import reference_key
from include.training.dataset import DatasetError
from include.training.train_model import Systems, parse, train
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, days, rows, write_tables

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES))
#: A run id as Airflow makes them: with characters that paths and addresses do not like.
RUN_ID = "manual__2026-01-02T03:04:05.678901+00:00"
ARGUMENTS = f"--use-case shops --from 2020-01-01 --to 2020-01-08 --run-id {RUN_ID} --trials 2 --epochs 3".split()


@pytest.fixture
def sent() -> list[tuple[str, Message]]:
    return []


@pytest.fixture
def systems(tmp_path: Path, sent: list[tuple[str, Message]]) -> Iterator[Systems]:
    def announce(topic: str, messages: Iterable[Message]) -> int:
        sent.extend((topic, message) for message in messages)
        return len(sent)

    landing = DirectoryStore(tmp_path / "landing")
    landing.put(reference_key("shops", "shops"), gzip.compress(b"id,size\n1,2\n"))
    tables = write_tables(tmp_path / "lake", rows(day_count=8, per_day=200), closed=days(7))
    models = tmp_path / "models"
    yield Systems(DirectoryStore(models), landing, tables, announce, str(models), None)
    ray.shutdown()


@pytest.mark.integration
def test_a_run_gives_a_candidate_and_its_figures(systems: Systems, sent: list[tuple[str, Message]]) -> None:
    result = train(parse(ARGUMENTS), systems, SHOPS)
    bundle = load_bundle(systems.models, "shops", result["model_id"], FEATURES)
    assert bundle.references == {"shops": b"id,size\n1,2\n"}
    assert bundle.lineage["split"]["test"]["to_ds"] == "2020-01-07"
    assert set(result["metrics"]["test"]) == {"candidate", "base_rate", "lightgbm"}
    assert result["metrics"]["test"]["base_rate"]["auc"] == 0.5
    kinds = [message[1]["kind"] for _, message in sent]
    assert (kinds.count("training_run"), kinds.count("model_quality")) == (2, 6)
    first = list(sent)
    sent.clear()
    assert train(parse(ARGUMENTS), systems, SHOPS) == result
    assert sent == first
    with pytest.raises(DatasetError, match="other arguments"):
        train(parse([*ARGUMENTS, "--seed", "7"]), systems, SHOPS)


def test_a_window_that_ends_before_it_begins_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--use-case shops --from 2020-01-08 --to 2020-01-01 --run-id r".split())
    assert "is after" in capsys.readouterr().err


def test_a_run_without_enough_days_can_be_tried_again_when_there_are(systems: Systems) -> None:
    too_short = "--use-case shops --from 2020-01-01 --to 2020-01-02 --run-id early".split()
    with pytest.raises(DatasetError, match="2 closed days"):
        train(parse(too_short), systems, SHOPS)
    assert systems.models.keys("shops/searches/early/") == []
