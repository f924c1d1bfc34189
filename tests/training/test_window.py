"""The days of a training run: what its first try chose."""

from pathlib import Path

from include.bundle.store import DirectoryStore
from include.training.window import pin_window


def test_the_first_try_of_a_run_chooses_and_every_other_run_for_itself(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first, later = ({"from": "2020-01-01", "to": day} for day in ("2020-01-08", "2020-01-09"))
    assert pin_window(store, "shops", "run 1", lambda: first) == first
    assert pin_window(store, "shops", "run 1", lambda: later) == first
    assert pin_window(store, "shops", "run 2", lambda: later) == later
