"""Private files under `up`, whose servers are prepared by one thread each."""

import os
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from local_stack import secret_store
from local_stack.secret_store import write_private

WRITERS, ROUNDS = 4, 200


def test_writers_of_one_file_do_not_take_each_others_half(tmp_path: Path) -> None:
    path, together = tmp_path / "spark-defaults.conf", Barrier(WRITERS)

    def write_often(letter: str) -> None:
        together.wait()
        for _ in range(ROUNDS):
            write_private(path, letter * 10_000)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write_often, "abcd"))
    assert path.read_text() in {letter * 10_000 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o700])
def test_only_the_owner_opens_it(tmp_path: Path, mode: int) -> None:
    path, before = tmp_path / "secret", os.umask(0)
    try:
        write_private(path, "x", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_cluster_id_never_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = uuid.UUID(bytes=b"\xf8" + bytes(15))
    monkeypatch.setattr(uuid, "uuid4", lambda: drawn)
    assert secret_store.generate("kafka_cluster_id") == "A" * 22
