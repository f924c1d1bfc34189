"""Two use cases in one deployment have DAGs of their own from the same files, and nothing of one leads to the other."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEMS = {path.stem for path in (ROOT / "dags").glob("*.py")}
FIRST, SECOND = "flight_delay", "template"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    environment = {
        **os.environ,
        "LAMBDA_DL_USE_CASES": f"{FIRST}, {SECOND}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]),
    }
    script = [sys.executable, "-m", "tests.dags.two_use_cases"]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr
    dags: dict[str, Any] = json.loads(lines[0].removeprefix("FOUND "))
    return dags


def test_every_file_makes_a_dag_for_each(found: dict[str, Any]) -> None:
    assert set(found) == STEMS | {f"{stem}__{SECOND}" for stem in STEMS}
    assert {dag_id for dag_id, dag in found.items() if dag["case"] == FIRST} == STEMS


def test_nothing_of_one_leads_to_the_other(found: dict[str, Any]) -> None:
    for dag_id, dag in found.items():
        case, other = dag["case"], SECOND if dag["case"] == FIRST else FIRST
        assert dag["tagged"] and other not in dag["tags"]
        assert all(name.startswith(f"{case}_") for name in dag["waits_for"]), dag_id
        for task_id, task in dag["tasks"].items():
            where = f"{dag_id}.{task_id}"
            assert task["use_case"] in (None, case), where
            assert task["topic"] is None or task["topic"].startswith(f"{case}."), where
            assert all(name.startswith(f"{case}_") for name in task["outlets"]), where
            assert task["triggers"] is None or found[task["triggers"]]["case"] == case, where


def test_the_second_is_joined_as_the_first(found: dict[str, Any]) -> None:
    """The same tasks, the same assets between the DAGs, under the other name."""
    for stem in STEMS:
        one, other = (json.dumps(found[dag_id]) for dag_id in (stem, f"{stem}__{SECOND}"))
        assert json.loads(other.replace(f"__{SECOND}", "").replace(SECOND, FIRST)) == json.loads(one), stem
