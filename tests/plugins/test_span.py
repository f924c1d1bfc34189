"""Which days a run is about."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_dl.span import Span, SpanError, span_of


def test_a_partition_key_is_the_day() -> None:
    assert span_of("2013-01-05", {"day": "2013-02-01"}) == Span(date(2013, 1, 5), date(2013, 1, 5))


def test_the_form_gives_the_day_of_a_run_without_a_key() -> None:
    assert span_of(None, {"day": "2013-01-05"}).partition_keys() == ["2013-01-05"]


@given(st.dates(date(2012, 1, 1), date(2030, 1, 1)), st.integers(0, 400))
def test_a_window_has_every_day_once_in_order(first: date, length: int) -> None:
    last = date.fromordinal(first.toordinal() + length)
    days = span_of(None, {"from": first.isoformat(), "to": last.isoformat()}).days()
    assert days == sorted(set(days)) and len(days) == length + 1 and days[0] == first and days[-1] == last


@pytest.mark.parametrize(
    ("key", "params", "says"),
    [
        (None, {}, "names no day"),
        (None, {"from": "2013-01-01"}, "names no day"),
        (None, {"from": "2013-01-02", "to": "2013-01-01"}, "after"),
        ("2013-13-01", {}, "YYYY-MM-DD"),
    ],
)
def test_a_run_without_days_says_how_to_give_some(key: str | None, params: dict[str, str], says: str) -> None:
    with pytest.raises(SpanError, match=says):
        span_of(key, params)
