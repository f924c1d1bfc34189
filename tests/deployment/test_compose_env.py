"""The generator of `.env`: private, random, complete, and it never replaces a value."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import compose_env
from local_stack.compose_env import given, main, names, write
from tests.deployment.compose_file import ROOT


def test_a_new_file_is_private_and_has_a_random_secret_for_each_name(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert write(path) == list(names())
    values = given(path.read_text())
    assert set(values) == set(names())
    assert len(set(values.values())) == len(values)
    assert min(map(len, values.values())) >= 20
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_there_stays_and_what_lacks_is_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nPUBLISH_MYSQL=23030\nS3_ACCESS_KEY=KEPT\nS3_SECRET_KEY=")
    added = write(path)
    assert "S3_ACCESS_KEY" not in added and "S3_SECRET_KEY" in added
    values = given(path.read_text())
    assert values["S3_ACCESS_KEY"] == "KEPT" and values["PUBLISH_MYSQL"] == "23030"
    assert path.read_text().startswith("# mine\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert write(path) == []
    assert path.read_text() == before


def test_values_need_no_quotes_in_an_env_file_a_url_or_json(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write(path)
    for name, value in given(path.read_text()).items():
        assert value.replace("=", "").replace("-", "").replace("_", "").isalnum(), name


def test_no_secret_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".env"
    assert main(["--file", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"{len(names())} secrets added" in said
    assert not [value for value in given(path.read_text()).values() if value in said]


def test_a_file_that_cannot_be_written_is_one_line_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--file", str(tmp_path / "not-there" / ".env")]) == 1
    said = capsys.readouterr().err
    assert "not-there" in said and said.endswith(": make the folder writable or free some space, then run it again\n")


def test_it_runs_on_the_standard_library_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-m", "local_stack.compose_env", "--file", str(tmp_path / ".env")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={"PATH": ""})


def test_git_does_not_take_it() -> None:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/{compose_env.DEFAULT_FILE.name}" in lines and "/deployment.env" in lines
