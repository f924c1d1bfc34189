"""Markdown and JSON of a card name the same figures, its plots are plots, and equal inputs give equal bytes."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from include.target import BINARY
from include.training.dataset import Dataset, Rows, split_days
from include.training.evaluation import Doubles, Evaluation, evaluate
from include.training.model_card import IMPORTANCE_SHOWN, Story, model_card, reliability
from include.training.trial import TrialSummary
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, days, rows, spans, untrained

SPLIT = split_days(days(10), validation_days=1, test_days=6)
DATA = rows(day_count=10, per_day=120)
DATASET = Dataset(*spans(DATA, SPLIT), SPLIT, {"labels": 3})
BEST = TrialSummary("t1", "finished", {"learning_rate": 0.001}, 7, 0.71, 0.51, 1.5)
OTHER = replace(BEST, trial_id="t2", status="stopped", validation_loss=0.6)
TUNED = {
    "trials": 2,
    "trials_asked": 8,
    "config": {"num_leaves": 31},
    "rounds": 40,
    "cut_short": False,
    "validation_log_loss": 0.5,
}
LINEAGE = {
    "tables": {"labels": 3, "features": 4},
    "code_version": "c0de",
    "seed": 5,
    "packages": {"torch": "1.2.3"},
    "split": SPLIT.to_json(),
    "config": {"learning_rate": 0.001},
    "parent": None,
}
NAMES = {"model_card.json", "model_card.md", "reliability.png", "precision_recall.png"}


def bent(given: Rows) -> Doubles:
    return np.asarray(1 / (1 + np.exp(1.4 - 2.0 * np.abs(given.columns["x"]))), dtype=np.float64)


def story() -> Story:
    torch.set_num_threads(1)
    case = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES, comment="Will a shop sell?", target=BINARY))
    predictor = untrained(DATASET.train, bins=8, temperature=1.25)
    return Story(case, DATASET, (BEST, OTHER), BEST, predictor, TUNED, "abc", "it has seen a day", LINEAGE)


def evaluation(told: Story, slices: tuple[str, ...] = ("colour",)) -> Evaluation:
    roles = {
        "candidate": lambda given: told.predictor.answers(given.columns),
        "champion": bent,
        "base_rate": lambda given: np.full(len(given), 0.4),
        "lightgbm": bent,
    }
    return evaluate(roles, roles, DATASET, slices, seed=0)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    told = story()
    return model_card(told, evaluation(told))


@pytest.fixture(scope="module")
def document(files: dict[str, bytes]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files["model_card.json"])
    return found


@pytest.fixture(scope="module")
def text(files: dict[str, bytes]) -> str:
    return files["model_card.md"].decode()


def cells(text: str, first: str) -> list[list[str]]:
    """The cells of every table line that begins with ``first``."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", cell)]


def test_both_name_the_same_figures(document: dict[str, Any], text: str) -> None:
    for role, figures in document["quality"]["test"].items():
        row = cells(text, role)[0]
        assert row[1] == str(figures["rows"])
        assert numbers(row[2]) == pytest.approx([figures["auc"], *figures["intervals"]["auc"]], abs=5e-5)
        assert numbers(row[3]) == pytest.approx([figures["log_loss"], *figures["intervals"]["log_loss"]], abs=5e-5)
        assert numbers(row[5]) == pytest.approx([figures["calibration_error"]], abs=5e-5)
        if role != "candidate":
            lead = [figures["candidate_minus"]["auc"][part] for part in ("value", "low", "high")]
            assert numbers(cells(text, role)[1][1]) == pytest.approx(lead, abs=5e-5)
    for one in document["slices"]:
        row = cells(text, one["value"])[0]
        assert row[1] == str(one["rows"])
        assert numbers(row[3]) == pytest.approx([one["auc"]], abs=5e-5)
    importance = document["permutation_importance"]
    assert len(importance) == len(FEATURES.features) <= IMPORTANCE_SHOWN
    for one in importance:
        assert numbers(cells(text, one["feature"])[-1][1]) == pytest.approx([one["log_loss_increase"]], abs=5e-5)


def test_it_says_what_it_is_of_and_where_it_comes_from(document: dict[str, Any], text: str) -> None:
    assert text.startswith("# Model card: shops, 2020-01-01 to 2020-01-10\n")
    assert "**Intended use.** Will a shop sell?" in text
    assert cells(text, "test")[0] == ["test", "2020-01-05", "2020-01-10", "6", "720", cells(text, "test")[0][5]]
    assert document["data"]["test"]["rows"] == 720
    assert "temperature 1.2500" in text
    assert "2 trials (1 finished, 1 stopped)" in text
    assert "with 2 of 8 trials" in text
    for name, value in (("tables.labels", "3"), ("code_version", "c0de"), ("seed", "5"), ("packages.torch", "1.2.3")):
        assert cells(text, name) == [[name, value]]
    assert document["lineage"]["tables"] == {"features": 4, "labels": 3}
    assert "resamples of 6 days" in text
    assert any("drawing whole days, 6 of them" in limit for limit in document["limits"])
    assert document["limits"][-1] == "Champion: it has seen a day."
    assert "The champion is `abc`." in text
    assert document["champion"] == {"model_id": "abc", "note": "it has seen a day"}


def test_it_says_which_days_were_left_out() -> None:
    told = replace(story(), lineage={**LINEAGE, "request": {"without": "2020-01-03"}})
    text = model_card(told, evaluation(told))["model_card.md"].decode()
    assert "- Days were left out of the run, so how it does on days like these was not tested: 2020-01-03." in text


def test_every_table_has_as_many_cells_as_headings(text: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_use_case_may_name_no_slices() -> None:
    told = story()
    card = model_card(replace(told, champion="", champion_note=""), evaluation(told, slices=()))
    assert b"Slices" not in card["model_card.md"]
    assert b"Champion:" not in card["model_card.md"]
    assert b"The champion is" not in card["model_card.md"]


def test_plots_are_png_without_the_name_of_a_program(files: dict[str, bytes]) -> None:
    assert set(files) == NAMES
    for name in ("reliability.png", "precision_recall.png"):
        assert files[name].startswith(b"\x89PNG\r\n")
        assert b"tEXt" not in files[name]
    assert files["reliability.png"] != files["precision_recall.png"]


def test_equal_inputs_give_equal_bytes(files: dict[str, bytes]) -> None:
    told = story()
    assert model_card(told, evaluation(told)) == files


def test_other_answers_give_another_card(files: dict[str, bytes]) -> None:
    told = replace(story(), predictor=replace(story().predictor, temperature=3.0))
    assert {name for name, data in model_card(told, evaluation(told)).items() if data != files[name]} >= {
        "model_card.json", "model_card.md", "reliability.png"
    }  # fmt: skip


def test_reliability_of_the_truth_lies_on_the_diagonal_in_bins_of_equal_count() -> None:
    random = np.random.default_rng(0)
    told = random.random(20_000) ** 3
    answers = evaluation(story(), slices=()).test
    answers = replace(answers, labels=(random.random(20_000) < told).astype(np.float32), by_role={"it": told})
    points = reliability(answers, "it")
    assert len(points) == 15
    assert all(abs(point["probability"] - point["positive_share"]) < 0.05 for point in points)
    assert points[7]["probability"] == pytest.approx(0.5**3, abs=0.02)


def test_nobodys_settings_change_a_plot(files: dict[str, bytes]) -> None:
    """A display, or a user's own colours and sizes."""
    code = (
        "import sys, hashlib, matplotlib; matplotlib.rcParams.update({'lines.linewidth': 9, 'font.size': 20});"
        "from tests.training.test_model_card import *; told = story();"
        "print(hashlib.sha256(model_card(told, evaluation(told))['reliability.png']).hexdigest());"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [hashlib.sha256(files["reliability.png"]).hexdigest(), "False"]
