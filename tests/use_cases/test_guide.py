"""docs/use-cases.md: its commands and file names exist; a drill runs the commands, and nothing else, in a copy."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "use-cases.md").read_text()
#: A use case and its tests; and its deployment.
BUILD, DEPLOY = GUIDE.split("\n## 5. ")
NAME = "card_fraud"
TEMPLATE = ROOT / "include" / "use_cases" / "template"
#: Installed once for a checkout; a copy shares it.
TOOLCHAIN = ("boot", "cache", "jars", "java", "venv")
#: What is installed is the checkout's: make must not look after it in the copy.
MAKE = """#!/bin/sh
exec {make} -o install -o install-dashboards "$@"
"""


def shell_blocks(text: str) -> list[str]:
    """What a reader would paste, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command of the guide, as words."""
    lines = [line for block in shell_blocks(GUIDE) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


def test_every_command_names_what_there_is() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(commands()) > 3
    for words in commands():
        names = [word for word in words if "=" not in word]
        if "make" in names:
            assert names[names.index("make") + 1] in targets, words
        if "-m" in names and names[names.index("-m") + 1] != "pytest":
            module = ROOT / names[names.index("-m") + 1].replace(NAME, "template").replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words
        if "local_stack.run_dag" in names:
            named = [word.partition("__") for word in names if word.endswith(f"__{NAME}")]
            assert named and all((ROOT / "dags" / f"{stem}.py").exists() for stem, _, _ in named), words


def test_the_table_has_every_module_of_the_template() -> None:
    told = set(re.findall(r"^\| `(\w+\.py)` \|", GUIDE, re.MULTILINE)) | set(re.findall(r"`(\w+\.py)`", GUIDE))
    there = {path.name for path in TEMPLATE.glob("*.py")}
    assert there <= told, f"the guide does not tell of {sorted(there - told)}"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:include|tests|docs|local_stack)/[\w/.]+)`", GUIDE))))
def test_every_path_in_the_text_exists(path: str) -> None:
    assert (ROOT / path.replace(NAME, "template")).exists()


def copy_of_checkout(folder: Path) -> Path:
    """The checkout's files as they are now, with its toolchain and no state."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".local").mkdir()
    for name in TOOLCHAIN:
        (folder / ".local" / name).symlink_to((ROOT / ".local" / name).resolve())
    return folder


def reader_of(folder: Path) -> dict[str, str]:
    """The environment of a reader's shell, which knows nothing of the stack that these tests run on."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / "make").write_text(MAKE.format(make=shutil.which("make")))
    (tools / "make").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "TMPDIR"}}
    # Beside whatever runs here already.
    base = os.environ.get("TRY_PORT_BASE", "21800")
    return {**kept, "TRY_PORT_BASE": base, "LAMBDA_DL_PORT_BASE": base, "PATH": f"{tools}:{os.environ['PATH']}"}


def run(block: str, copy: Path, environment: dict[str, str]) -> None:
    """Run one block as a reader would."""
    print(block, flush=True)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=copy, env=environment)
    assert done.returncode == 0, block


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A copy of the checkout and the environment of a reader; what the commands have started is stopped again."""
    folder = tmp_path_factory.mktemp("reader")
    copy, environment = copy_of_checkout(folder / "checkout"), reader_of(folder)
    yield copy, environment
    run("make down", copy, environment)


@pytest.mark.drill
def test_a_reader_who_runs_the_commands_gets_a_use_case(reader: tuple[Path, dict[str, str]]) -> None:
    copy, environment = reader
    for block in shell_blocks(BUILD):
        run(block, copy, environment)
    assert (copy / "include" / "use_cases" / NAME / "contracts.py").exists()
    for kind in ("predictions", "orders"):
        assert (copy / "docs" / "schemas" / f"{NAME}.{kind}.json").exists()


@pytest.mark.drill
def test_a_reader_who_goes_on_has_it_beside_the_shipped_one(reader: tuple[Path, dict[str, str]]) -> None:
    """Through Airflow's DAGs to an answer: the last command fails unless the predictor answers."""
    copy, environment = reader
    for block in shell_blocks(DEPLOY):
        run(block, copy, environment)
