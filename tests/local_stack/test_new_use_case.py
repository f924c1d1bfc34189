"""A new use case is a copy that works under its own name; a name that would break something is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack.faults import StackError
from local_stack.layout import REPO_ROOT
from local_stack.new_use_case import PACKAGES, TEMPLATE, TESTS, main, make, names_of_tests

NAME = "card_fraud"
LOADED = """
from include.use_case import load_use_case
from include.use_cases.{name} import feeder, replay
found = load_use_case("{name}")
assert found.name == "{name}" and found.search.first["width"] == 64
day = found.history_start
assert next(feeder.day_files(found.name, day, day)).key.startswith("{name}/orders/ds=")
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The parts of a checkout that a use case needs."""
    for folder in ("include", TESTS):
        shutil.copytree(REPO_ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO_ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_copy_loads_and_names_the_template_no_more(checkout: Path) -> None:
    made = make(NAME, checkout)
    assert {path.name for path in made} >= {"contracts.py", "search.py", *names_of_tests(NAME)}
    assert not [path for path in made if TEMPLATE in path.read_text()]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    script = [sys.executable, "-c", LOADED.format(name=NAME)]
    subprocess.run(script, cwd=checkout, env=environment, check=True)


def test_the_copy_passes_the_checks_of_the_house(checkout: Path) -> None:
    made = make(NAME, checkout)
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, *(str(path) for path in made)]
        found = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", ["", "Card", "card-fraud", "2cards", "_card", "card_", "card__fraud", "class", "../x"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match="is no name: use small letters"):
        make(name, tmp_path)


def test_a_name_that_is_taken_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flight_delay"]) == 1
    assert "is there already: include/use_cases/flight_delay" in capsys.readouterr().err
    with pytest.raises(StackError, match="is a database that others have"):
        make("hive_metastore", REPO_ROOT)
    with pytest.raises(StackError, match="41 characters"):
        make("x" * 41, REPO_ROOT)


def test_tests_that_are_there_are_kept(checkout: Path) -> None:
    (checkout / TESTS / f"test_{NAME}.py").write_text("mine")
    with pytest.raises(StackError, match=rf"is there already: tests/use_cases/test_{NAME}\.py"):
        make(NAME, checkout)
    assert not (checkout / PACKAGES / NAME).exists()
