"""What is unread of a topic, given its ends and the table's positions."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.predictions.positions import TopicShorter, Unread, unread


def test_reading_goes_on_where_the_table_ends() -> None:
    ends = {0: (0, 10), 1: (0, 7), 2: (0, 0), 3: (5, 9)}
    assert unread("t", ends, {0: 4, 1: 7}) == [Unread(0, 4, 10), Unread(3, 5, 9)]


def test_dropped_messages_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert unread("t", {0: (6, 9)}, {0: 4}) == [Unread(0, 6, 9)]
    assert "offsets 4 to 5 were dropped unread" in caplog.text


def test_a_topic_made_anew_is_an_error() -> None:
    with pytest.raises(TopicShorter, match="partition 2 ends at offset 3, .* has it up to 5"):
        unread("t", {2: (0, 3)}, {2: 5})


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20))
def test_the_parts_are_the_whole(start: int, length: int, size: int) -> None:
    parts = list(Unread(0, start, start + length).parts(size))
    assert [n for part in parts for n in range(part.start, part.end)] == list(range(start, start + length))
    assert all(0 < part.end - part.start <= size for part in parts)
