"""The days of a training run: what its first try chose."""

from pathlib import Path

import pytest

from include.bundle.store import DirectoryStore
from include.training.dataset import DatasetError
from include.training.window import check_enough, pin_window
from tests.training.synthetic import days


def test_the_first_try_of_a_run_chooses_and_every_other_run_for_itself(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    first, later = ({"from": "2020-01-01", "to": day} for day in ("2020-01-08", "2020-01-09"))
    assert pin_window(store, "shops", "run 1", lambda: first) == first
    assert pin_window(store, "shops", "run 1", lambda: later) == first
    assert pin_window(store, "shops", "run 2", lambda: later) == later


def test_the_odd_bad_day_leaves_enough() -> None:
    check_enough(days(28), days(3))
    check_enough(days(28), days(14))


@pytest.mark.parametrize(
    ("closed", "poor", "says"),
    [
        (28, 28, "only 0 of 28 days"),
        (28, 15, "only 13 of 28 days"),
        (4, 2, "2 closed days cannot be split"),
    ],
)
def test_too_few_good_days_are_refused(closed: int, poor: int, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        check_enough(days(closed), days(poor))
