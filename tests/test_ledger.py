"""The ledger only grows, one winner a line, and notices a line that somebody removed."""

import os
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from include.bundle.store import DirectoryStore, ObjectStore, S3Store
from include.ledger import Entry, LedgerBroken, LedgerConflict, append, champion, line_key, read_ledger
from include.locations import MODELS_BUCKET
from include.settings import S3Settings

ENTRY = Entry(1, "2020-01-01T00:00:00.000Z", "promoted", "m1", None, "test", "because", "run")


def test_it_starts_empty_and_grows(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert champion(store, "shops") is None
    append(store, "shops", ENTRY)
    append(store, "shops", replace(ENTRY, sequence=2, model_id="m2", parent_id="m1"))
    head = champion(store, "shops")
    assert head is not None and head.model_id == "m2"
    assert [entry.sequence for entry in read_ledger(store, "shops")] == [1, 2]


def test_a_line_that_exists_is_a_conflict_that_names_the_head(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    append(store, "shops", ENTRY)
    with pytest.raises(LedgerConflict) as conflict:
        append(store, "shops", replace(ENTRY, model_id="other"))
    assert conflict.value.head == ENTRY


def test_a_gap_is_an_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    with pytest.raises(LedgerBroken):
        append(store, "shops", replace(ENTRY, sequence=2))
    for sequence in (1, 2):
        append(store, "shops", replace(ENTRY, sequence=sequence))
    (tmp_path / line_key("shops", 1)).unlink()
    with pytest.raises(LedgerBroken):
        read_ledger(store, "shops")


def race(store: ObjectStore, use_case: str, writers: int, lines: int) -> Counter[int]:
    """Let writers append until the ledger has so many lines; returns how many won each line."""
    won: Counter[int] = Counter()
    lock, start = threading.Lock(), threading.Barrier(writers)

    def write(writer: int) -> None:
        start.wait()
        for sequence in range(1, lines + 1):
            try:
                append(store, use_case, replace(ENTRY, sequence=sequence, model_id=f"writer-{writer}"))
            except LedgerConflict:
                continue
            with lock:
                won[sequence] += 1

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    return won


def test_one_of_racing_writers_wins_each_line(tmp_path: Path) -> None:
    assert race(DirectoryStore(tmp_path), "shops", writers=8, lines=5) == Counter(dict.fromkeys(range(1, 6), 1))


@pytest.mark.integration
def test_one_of_sixteen_writers_wins_each_line_on_s3() -> None:
    store = S3Store(S3Settings.from_environment(os.environ), MODELS_BUCKET)
    use_case = f"test-{uuid.uuid4().hex[:12]}"
    try:
        assert race(store, use_case, writers=16, lines=4) == Counter(dict.fromkeys(range(1, 5), 1))
        assert [entry.sequence for entry in read_ledger(store, use_case)] == [1, 2, 3, 4]
    finally:
        for key in store.keys(f"{use_case}/"):
            store.client.delete_object(Bucket=MODELS_BUCKET, Key=key)
