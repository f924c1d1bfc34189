"""Somebody is told, by a real HTTP receiver: once, whatever else is down, and without showing the webhook's address."""

import logging
import socket
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from include import lake
from include.alerts import WEBHOOK, Alert, post, tell
from include.freshness import MOST_GAPS, broken_thresholds, facts_begin, gaps, late_day, stale_refresh
from tests.receiver import receiving

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ALERT = Alert("quality", "departures.validity", "departures 2013-01-05: validity is 0.8", "2013-01-05", "run-1")
HOUR = timedelta(hours=1)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The table ``alerts`` in memory; the real one is used by the integration tests."""
    rows: dict[str, dict[str, Any]] = {}

    def merge(use_case: str, table: Any, new: list[dict[str, Any]]) -> None:
        rows.update({row["alert_id"]: row for row in new})

    monkeypatch.setattr(lake, "merge_rows", merge)
    monkeypatch.setattr(lake, "has_row", lambda use_case, table, row: row["alert_id"] in rows)
    return rows


def test_an_alert_is_posted_once(table: dict[str, dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, caplog.at_level(logging.INFO):
        environment = {WEBHOOK: receiver.address}
        assert tell("flights", ALERT, environment, NOW)
        assert not tell("flights", ALERT, environment, NOW + HOUR)
    assert receiver.documents == [
        {
            "alert_id": "quality/flights/departures.validity/2013-01-05",
            "time": "2026-11-25T12:00:00.000Z",
            "kind": "quality",
            "subject": "departures.validity",
            "message": "departures 2013-01-05: validity is 0.8",
            "run_id": "run-1",
            "ds": "2026-11-25",
            "use_case": "flights",
        }
    ]
    assert "ALERT quality departures.validity" in caplog.text
    assert "s3cret" not in caplog.text


class Killed(BaseException):
    """No ``except Exception`` hears of it."""


def test_who_is_killed_before_the_table_has_it_tells_it_again(
    table: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with receiving() as receiver:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(lake, "merge_rows", die)
            tell("flights", ALERT, {WEBHOOK: receiver.address}, NOW)
        assert len(receiver.documents) == 1
        assert tell("flights", ALERT, {WEBHOOK: receiver.address}, NOW)
        assert not tell("flights", ALERT, {WEBHOOK: receiver.address}, NOW)
    assert len(receiver.documents) == 2


def test_a_lake_that_is_down_keeps_nobody_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3_ENDPOINT", raising=False)
    with receiving() as receiver:
        assert tell("flights", ALERT, {WEBHOOK: receiver.address}, NOW)
    assert len(receiver.documents) == 1


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/s3cret", "ftp://host/s3cret", "s3cret", "http://[s3cret"])
def test_a_webhook_that_cannot_be_reached_is_a_warning_without_its_address(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not post(address.format(port=free_port()), {})
    assert caplog.records and "s3cret" not in caplog.text


def test_a_webhook_that_refuses_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(status=403) as receiver:
        assert not post(receiver.address, {})
    assert "answered 403" in caplog.text and "s3cret" not in caplog.text


def test_without_a_webhook_the_log_says_it(table: dict[str, dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    assert tell("flights", ALERT, {}, NOW)
    assert "ALERT quality" in caplog.text


def test_a_refresh_is_stale_after_its_limit_and_not_before_the_first() -> None:
    assert stale_refresh(None, NOW, HOUR) == stale_refresh(NOW - HOUR, NOW, HOUR) == []
    (alert,) = stale_refresh(NOW - 2 * HOUR, NOW, HOUR)
    assert (alert.kind, alert.message) == (
        "refresh_stale",
        "MySQL was last refreshed at 2026-11-25 10:00 UTC, more than 1:00:00 ago",
    )


def test_a_day_is_late_when_it_ended_too_long_ago() -> None:
    assert late_day(["2026-11-24"], NOW, 8 * HOUR, None) == []
    assert late_day(["2026-11-23"], NOW, 13 * HOUR, None) == []
    (alert,) = late_day(["2026-11-22", "2026-11-23"], NOW, 8 * HOUR, None)
    assert (alert.kind, alert.ds) == ("day_late", "2026-11-24")
    assert late_day([], NOW, HOUR, None) == []


def test_no_day_of_an_ended_archive_is_late() -> None:
    assert late_day(["2013-02-03"], NOW, HOUR, date(2013, 12, 31)) == []


def closed(*days: int, hours: float = 9) -> dict[str, datetime]:
    """Days of November 2026, each closed so many hours ago."""
    return {date(2026, 11, day).isoformat(): NOW - hours * HOUR for day in days}


def test_days_that_an_outage_has_left_out_are_told_with_what_to_do() -> None:
    days = closed(1, 2, 3, 7, 8, 10)
    first, second = gaps(days, date(2026, 11, 1), NOW, 8 * HOUR)
    assert (first.kind, first.subject, first.ds) == ("day_late", "ingest_raw.gap", "2026-11-06")
    assert "2026-11-04 to 2026-11-06 (days: 3) have no closed ingest book, though 2026-11-07 has" in first.message
    assert 'ingest_window with {"from": "2026-11-04", "to": "2026-11-06"}' in first.message
    assert second.ds == "2026-11-09"
    assert gaps(closed(1, 2, 3), date(2026, 11, 1), NOW, HOUR) == []
    assert gaps({}, None, NOW, HOUR) == []


def test_a_gap_that_is_made_up_for_in_order_is_the_same_alert() -> None:
    begin = date(2026, 11, 1)
    before, later = (gaps(closed(1, 7) | more, begin, NOW, HOUR) for more in ({}, closed(2, 3, hours=0.1)))
    assert [alert.ds for alert in before] == [alert.ds for alert in later] == ["2026-11-06"]
    assert "2026-11-04 to 2026-11-06" in later[0].message


def test_days_that_may_be_on_their_way_are_not_told() -> None:
    """A backfill takes days in any order."""
    assert gaps(closed(1) | closed(5, 6, hours=1), date(2026, 11, 1), NOW, 8 * HOUR) == []


def test_of_many_gaps_the_newest_are_told() -> None:
    found = gaps(closed(*range(1, 30, 2)), date(2026, 11, 1), NOW, HOUR)
    assert len(found) == MOST_GAPS and found[-1].ds == "2026-11-28"


def test_facts_are_expected_from_the_history_s_start_where_the_first_day_needs_them() -> None:
    start = date(2026, 11, 1)
    assert facts_begin(closed(4, 9), start, history_days=7) == start
    assert facts_begin(closed(20), start, history_days=7) == date(2026, 11, 20), "taken up later"
    assert facts_begin(closed(20), date(2026, 11, 25), history_days=7) is None, "days before the history"
    assert facts_begin([], start, history_days=7) is None
    assert [alert.ds for alert in gaps(closed(3), start, NOW, HOUR)] == ["2026-11-02"]
    assert gaps(closed(1, 5, 6), date(2026, 11, 5), NOW, HOUR) == [], "earlier days are never asked for"


def test_a_broken_threshold_names_source_and_day() -> None:
    rows = [{"ds": "2013-01-05", "source": "a", "dimension": "validity", "value": 0.5, "time": NOW}]
    (alert,) = broken_thresholds(rows, {"validity": 0.9})
    assert (alert.kind, alert.subject, alert.ds) == ("quality", "a.validity", "2013-01-05")
