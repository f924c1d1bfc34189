"""A whole training run on the synthetic world: candidate, figures, messages; repeating it only broadcasts again."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from include.broadcast import Message
from include.bundle.bundle import load_bundle, read_files
from include.bundle.store import DirectoryStore
from include.ledger import Entry, append
from include.locations import Models, reference_key
from include.search import SearchSpace
from include.target import BINARY
from include.training import train_model
from include.training.again import train_again
from include.training.dataset import DatasetError
from include.training.train_model import Systems, parse, train
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, IN_MEMORY, days, rows, write_tables

SHOPS = cast(
    UseCase,
    SimpleNamespace(
        name="shops",
        features=FEATURES,
        target=BINARY,
        comment="Will a shop sell?",
        slices=("colour",),
        search=SearchSpace(),
    ),
)
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


@pytest.mark.parametrize(("given", "used"), [({}, "300"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_that_wait_give_their_core_to_others(given: dict[str, str], used: str) -> None:
    """OpenMP reads this when it is loaded: a module that loaded PyTorch before it is said would leave it unheard."""
    inherited = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-m", "include.training.train_model", "--help"]
    said = {**inherited, **given, "OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run(command, env=said, capture_output=True, text=True, check=True)
    counts = {line.split("'")[1] for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line}
    assert counts == {used}


@pytest.mark.drill
def test_a_run_gives_a_candidate_and_its_figures(systems: Systems, sent: list[tuple[str, Message]]) -> None:
    result = train(parse(ARGUMENTS), systems, SHOPS)
    bundle = load_bundle(systems.models, "shops", result["model_id"], FEATURES)
    assert bundle.references == {"shops": b"id,size\n1,2\n"}
    assert bundle.lineage["split"]["test"]["to_ds"] == "2020-01-07"
    assert set(result["metrics"]["test"]) == {"candidate", "base_rate", "lightgbm"}
    assert result["metrics"]["test"]["base_rate"]["auc"] == 0.5
    kinds = [message[1]["kind"] for _, message in sent]
    assert (kinds.count("training_run"), kinds.count("model_quality")) == (2, 6)
    assert_card(systems, result, champion={"model_id": "", "note": "there is no champion yet"})
    assert_it_can_be_trained_again(systems, result["model_id"])
    first = list(sent)
    sent.clear()
    assert train(parse(ARGUMENTS), systems, SHOPS) == result
    assert sent == first
    with pytest.raises(DatasetError, match="other arguments"):
        train(parse([*ARGUMENTS, "--seed", "7"]), systems, SHOPS)
    ray.shutdown()
    assert_a_later_run_is_compared_with_the_champion(systems, sent, result["model_id"])


@pytest.mark.drill
def test_a_model_that_two_processes_shared_is_trained_again_by_two(systems: Systems) -> None:
    result = train(parse([*ARGUMENTS, "--workers", "2"]), systems, SHOPS)
    lineage = load_bundle(systems.models, "shops", result["model_id"], FEATURES).lineage
    assert lineage["machine"]["workers"] == 2
    ray.shutdown()
    assert_it_can_be_trained_again(systems, result["model_id"])


def assert_it_can_be_trained_again(systems: Systems, model_id: str) -> None:
    """The search's winner comes out of its lineage, to the bit."""
    again = train_again(systems.tables, systems.models, SHOPS, model_id, IN_MEMORY)
    assert again.same and not again.circumstances, again.lines()


def assert_card(systems: Systems, result: dict[str, Any], champion: dict[str, str]) -> None:
    """The bundle's card has the run's figures."""
    files = read_files(systems.models, "shops", result["model_id"])
    card = json.loads(files["card/model_card.json"])
    assert card["quality"] == result["metrics"] == json.loads(files["metrics.json"])
    assert card["champion"] == champion
    assert {one["feature"] for one in card["slices"]} == {"colour"}
    assert card["search"]["lightgbm"]["trials"] >= 1
    assert card["lineage"] == json.loads(files["lineage.json"])
    assert {"card/model_card.md", "card/reliability.png", "card/precision_recall.png"} < set(files)


def assert_a_later_run_is_compared_with_the_champion(
    systems: Systems, sent: list[tuple[str, Message]], model_id: str
) -> None:
    """The same days again: the champion is among the rivals, and has not seen the test days."""
    append(systems.models, "shops", Entry(1, "2020-02-01T00:00:00Z", "promoted", model_id, None, "a", "r", RUN_ID))
    sent.clear()
    later = ["later" if argument == RUN_ID else argument for argument in ARGUMENTS]
    result = train(parse(later), systems, SHOPS)
    assert list(result["metrics"]["test"]) == ["candidate", "champion", "base_rate", "lightgbm"]
    assert_card(systems, result, champion={"model_id": model_id, "note": ""})
    said = [message for _, (_, message) in sent if message.get("role") == "champion"]
    assert [(message["split"], message["model_id"]) for message in said] == [
        ("validation", model_id),
        ("test", model_id),
    ]

    ray.shutdown()
    assert_a_run_goes_on_from_the_champion(systems, model_id)


def assert_a_run_goes_on_from_the_champion(systems: Systems, model_id: str) -> None:
    """The champion's encoders and architecture, other weights; the lineage names it."""
    continued = [{RUN_ID: "continued"}.get(argument, argument) for argument in ARGUMENTS]
    result = train(parse([*continued, "--start", "champion"]), systems, SHOPS)
    former, later = (load_bundle(systems.models, "shops", one, FEATURES) for one in (model_id, result["model_id"]))
    assert later.lineage["continued_from"] == later.lineage["parent"] == model_id
    assert former.lineage["continued_from"] is None
    assert (later.lineage["validation_days_seen"], former.lineage["validation_days_seen"]) == (1, 0)
    card = read_files(systems.models, "shops", later.model_id)["card/model_card.md"].decode()
    assert "had learned from 1 of the 1 validation days" in card
    assert later.predictor.encoders.to_json() == former.predictor.encoders.to_json()
    assert later.predictor.network.config.width == former.predictor.network.config.width
    assert {"width", "layers"}.isdisjoint(later.lineage["config"])
    assert_it_can_be_trained_again(systems, later.model_id)


def test_a_window_that_ends_before_it_begins_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--use-case shops --from 2020-01-08 --to 2020-01-01 --run-id r".split())
    assert "is after" in capsys.readouterr().err


def test_a_run_without_enough_days_can_be_tried_again_when_there_are(systems: Systems) -> None:
    too_short = "--use-case shops --from 2020-01-01 --to 2020-01-02 --run-id early".split()
    with pytest.raises(DatasetError, match="2 closed days"):
        train(parse(too_short), systems, SHOPS)
    assert systems.models.keys("shops/searches/early/") == []


def test_days_can_be_left_out_of_the_window(systems: Systems, capsys: pytest.CaptureFixture[str]) -> None:
    request = parse([*ARGUMENTS, "--without", "2020-01-05,2020-01-02,"])
    assert request.without == "2020-01-02,2020-01-05"
    _, dataset = train_model._read(request, systems, SHOPS, IN_MEMORY)
    split = dataset.split
    assert (*split.train, *split.validation, *split.test) == tuple(
        ds for ds in days(7) if ds not in ("2020-01-02", "2020-01-05")
    )
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 5 * 200
    assert "left out as was asked: 2020-01-02,2020-01-05" in capsys.readouterr().out


def test_a_run_that_an_earlier_release_has_finished_is_finished(systems: Systems) -> None:
    request = parse(ARGUMENTS)
    before = {name: value for name, value in asdict(request).items() if name != "without"}
    kept = {"request": before, "messages": []}
    systems.models.put(Models("shops").search_prefix(RUN_ID) + "result.json", json.dumps(kept).encode())
    assert train(request, systems, SHOPS) == kept
    with pytest.raises(DatasetError, match="other arguments"):
        train(parse([*ARGUMENTS, "--without", "2020-01-02"]), systems, SHOPS)
