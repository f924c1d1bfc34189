"""What was withdrawn when: the newest event of a file counts, from its moment on."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from include.tombstones import Period, periods, retracted_keys

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def event(key: str, what: str, hour: int) -> dict[str, Any]:
    return {"landing_key": key, "event": what, "time": NOON + timedelta(hours=hour)}


def test_nothing_was_ever_withdrawn() -> None:
    assert periods([]) == [Period(None, None, frozenset())]


def test_a_file_counts_before_its_withdrawal_and_after_its_return() -> None:
    one, two = NOON + timedelta(hours=1), NOON + timedelta(hours=2)
    assert periods([event("a", "restored", 2), event("a", "retracted", 1), event("b", "retracted", 2)]) == [
        Period(None, one, frozenset()),
        Period(one, two, frozenset({"a"})),
        Period(two, None, frozenset({"b"})),
    ]


EVENTS = st.lists(
    st.builds(event, st.sampled_from("abc"), st.sampled_from(["retracted", "restored"]), st.integers(0, 9)),
    unique_by=lambda event: (event["landing_key"], event["time"]),
)


@given(EVENTS)
def test_periods_cover_all_time_and_end_with_now(events: list[dict[str, Any]]) -> None:
    found = periods(events)
    assert found[0].start is None and found[-1].end is None
    assert all(before.end == after.start for before, after in pairwise(found))
    assert found[-1].withdrawn == frozenset(retracted_keys(events))
