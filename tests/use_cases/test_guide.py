"""docs/use-cases.md: its commands and file names exist; a drill runs the commands, and nothing else, in a copy."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "use-cases.md").read_text()
NAME = "card_fraud"
TEMPLATE = ROOT / "include" / "use_cases" / "template"
#: Installed once for a checkout; a copy shares it.
TOOLCHAIN = ("boot", "cache", "jars", "java", "venv")
#: What is installed is the checkout's: make must not look after it in the copy.
MAKE = """#!/bin/sh
exec {make} -o install "$@"
"""


def shell_blocks(text: str) -> list[str]:
    """What a reader would paste, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Every command of the guide, as words."""
    return [shlex.split(line, comments=True) for block in shell_blocks(GUIDE) for line in block.splitlines() if line]


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


@pytest.mark.drill
def test_a_reader_who_runs_the_commands_gets_a_use_case(tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path / "checkout")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "make").write_text(MAKE.format(make=shutil.which("make")))
    (tools / "make").chmod(0o755)
    # A reader's shell knows nothing of the stack that these tests run on.
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "TMPDIR", "TRY_PORT_BASE"}}
    environment = {**kept, "PATH": f"{tools}:{os.environ['PATH']}"}
    for block in shell_blocks(GUIDE):
        print(block, flush=True)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=copy, env=environment)
        assert done.returncode == 0, block
    assert (copy / "include" / "use_cases" / NAME / "contracts.py").exists()
    assert (copy / "docs" / "schemas" / f"{NAME}.predictions.json").exists()
    assert (copy / "docs" / "schemas" / f"{NAME}.orders.json").exists()
