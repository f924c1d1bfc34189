"""The rules of the house that a machine can check: import direction, domain words, names, docstrings, sizes."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dags", "plugins", "include", "speed_service", "dashboard", "local_stack")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOMAIN = re.compile(r"flight|airport|carrier|tailnum|airline|parcel|courier|depot|bike|hires", re.IGNORECASE)
#: What each layer may not import: data flows dags -> plugins -> include <- speed_service.
FORBIDDEN = {
    "include": ("airflow", "dags", "lambda_dl", "speed_service", "local_stack"),
    "speed_service": ("airflow", "pyspark", "ray", "lambda_dl", "local_stack"),
    "plugins": ("dags", "speed_service", "local_stack"),
    "dags": ("speed_service", "local_stack", "dashboard"),
    "dashboard": ("airflow", "pyspark", "dags", "lambda_dl", "include", "speed_service", "local_stack"),
}
#: But these it may: what a use case declares, on the standard library and NumPy alone.
ALLOWED = {"dashboard": {"include.use_case", "include.use_cases", "include.target"}}


def imported_modules(path: Path) -> set[str]:
    """Every module that a file names in an import statement, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden, allowed = FORBIDDEN.get(package, ()), ALLOWED.get(package, set())
    wrong = {name for name in imported_modules(path) - allowed if name.split(".")[0] in forbidden}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_domain_is_spoken_in_its_use_case_alone(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if "use_cases" in relative.parts:
        return
    # The name of the shipped use case is the one default that deployments start from.
    text = path.read_text().replace("flight_delay", "")
    found = sorted(set(DOMAIN.findall(text)))
    assert not found, f"{relative} speaks of {found}; domain words belong under include/use_cases"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_say_what_they_are_for(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f"{f.name}:{f.lineno}" for f in functions if (f.end_lineno or 0) - f.lineno >= 60]
    assert not long, f"{path.relative_to(ROOT)} has functions of 60 lines or more: {long}"


def test_no_name_that_explains_nothing() -> None:
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_no_link_is_under_version_control() -> None:
    """One to a folder of this machine would replace another's: ``.local`` holds everything that a stack has."""
    tracked = subprocess.run(
        ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [line for line in tracked.splitlines() if line.startswith("120000")] == []


def test_the_project_stands_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    reading = [
        name
        for name in tracked
        if name != "tests/test_architecture.py"
        and (ROOT / name).is_file()
        and b"../shared" in (ROOT / name).read_bytes()
    ]
    assert not reading, f"these files speak of a folder outside the project: {reading}"
