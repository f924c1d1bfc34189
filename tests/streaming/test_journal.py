"""The fold's memory across restarts: any batch can be run again, and a gap is an error."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.bundle.store import DirectoryStore
from include.streaming.counting import Arrival, State, count
from include.streaming.journal import Journal, JournalGap, changes_of
from tests.streaming.test_counting import ARRIVALS, fact, heartbeat


def run(journal: Journal, state: State, batch: int, arrivals: list[Arrival]) -> list[str]:
    counted = count(state, arrivals)
    journal.write(batch, changes_of(arrivals, counted), state)
    return [item.outcome for item in counted.judged]


def plain(state: State) -> bytes:
    return msgspec.json.encode({name: state[name] for name in sorted(state)})


@given(st.lists(ARRIVALS, min_size=1, max_size=8), st.integers(1, 4))
def test_a_restart_before_any_batch_gives_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Arrival]], every: int
) -> None:
    journal = Journal(DirectoryStore(tmp_path_factory.mktemp("journal")), snapshot_every=every)
    state: State = {}
    for number, arrivals in enumerate(batches):
        before = plain(state)
        outcomes = run(journal, state, number, arrivals)
        again = journal.restore(number)
        assert plain(again) == before
        assert run(journal, again, number, arrivals) == outcomes
        assert plain(again) == plain(state)
    assert plain(journal.restore(len(batches))) == plain(state)


def test_old_entries_go_and_the_newest_batches_can_still_be_run_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    journal = Journal(store, snapshot_every=10)
    state: State = {}
    for number in range(100):
        run(journal, state, number, [fact(f"f{number}", 20_000_000 + number), heartbeat(20_000_000 + number)])
    assert len(store.keys("journal/")) < 30
    for number in (99, 100):
        assert journal.restore(number)["s"].counts["counted"] == number


def test_a_gap_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    journal = Journal(store)
    state: State = {}
    for number in range(3):
        run(journal, state, number, [fact(f"f{number}", 20_000_000)])
    store.delete("journal/batch-000000000001.json")
    with pytest.raises(JournalGap, match="lacks batch 1"):
        journal.restore(3)
