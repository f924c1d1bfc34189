"""The memory of answered queries against a plain list of them."""

from hypothesis import given
from hypothesis import strategies as st

from speed_service.answered import PARTS_OF_HORIZON, Answered

HORIZON = 1200
PART = HORIZON // PARTS_OF_HORIZON
IDENTITIES = st.tuples(st.sampled_from("abc"), st.integers(0, 2))
TIMES = st.integers(10**6, 10**6 + 5 * HORIZON)
ANSWERS = st.lists(st.tuples(IDENTITIES, TIMES), max_size=20)


@given(ANSWERS, IDENTITIES, TIMES, st.integers(0, 3 * HORIZON))
def test_what_was_answered_within_the_horizon_is_known(
    answers: list[tuple[tuple[str, int], int]], identity: tuple[str, int], asked: int, earlier: int
) -> None:
    answered = Answered(HORIZON)
    for one, time in answers:
        answered.add(one, time)
    answered.forget(asked - earlier)  # queries are not younger than those that came before, but for partitions
    times = [time for one, time in answers if one == identity]
    covered = answered.covers(identity, asked)
    if any(time >= asked - HORIZON for time in times):
        assert covered
    if all(time < asked - HORIZON - PART for time in times):
        assert not covered


def test_the_same_subject_at_another_time_is_another_query() -> None:
    answered = Answered(HORIZON)
    answered.add(("a", 1), 10**6)
    assert answered.covers(("a", 1), 10**6) and not answered.covers(("a", 2), 10**6)


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    answered = Answered(HORIZON, most=3)
    for number in range(6):
        answered.add(("a", number), 10**6 + number * PART)
        answered.forget(10**6 + number * PART)
    assert len(answered) == 3
    assert [answered.covers(("a", number), 10**6) for number in range(6)] == [False] * 3 + [True] * 3


def test_what_no_query_can_repeat_is_dropped() -> None:
    answered = Answered(HORIZON)
    answered.add(("a", 1), 10**6)
    answered.forget(10**6 + HORIZON)
    assert len(answered) == 1
    answered.forget(10**6 + HORIZON + PART)
    assert len(answered) == 0
