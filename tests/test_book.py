"""The books' arithmetic: when a line balances, what differs, which days are closed, which are needed."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from include import book
from include.book import Entry, closed_in, days_needed, difference, label_days, newest_closing, unreleased
from include.tables import BOOK
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")


def test_a_line_balances_when_everything_went_somewhere_once() -> None:
    assert Entry("2013-01-01", "ingest", "x", 10, 7, 2, 1).balances
    assert not Entry("2013-01-01", "ingest", "x", 10, 7, 2, 0).balances
    assert Entry("2013-01-01", "labels", "labels", 10, 9, may_lack=True).balances
    assert not Entry("2013-01-01", "labels", "labels", 10, 11, may_lack=True).balances


def test_a_line_becomes_a_row_of_the_table() -> None:
    row = Entry("2013-01-01", "ingest", "x", 10, 7, 2, 1).row("run", datetime(2013, 1, 2, tzinfo=UTC))
    assert set(row) == {column.name for column in BOOK.columns}
    assert row["closed"] is True


def test_the_difference_names_files_and_lines() -> None:
    landed = {("f", 1), ("f", 2), ("f", 3)}
    text = difference(landed, {("f", 1): 2, ("g", 9): 1}, 0)
    assert "1 lines are in the tables more than once: f line 1" in text
    assert "1 rows come from no landed line: g line 9" in text
    assert "2 landed lines are in no table (0 duplicates expected): f line 2, f line 3" in text
    assert difference(landed, {("f", 1): 1, ("f", 2): 1}, 1) == ""


def line(ds: str, source: str, closed: bool = True, stage: str = "ingest") -> dict[str, object]:
    return {"ds": ds, "stage": stage, "source": source, "closed": closed}


def test_a_day_is_closed_when_every_source_is() -> None:
    rows = [
        line("1", "a"),
        line("1", "b"),
        line("2", "a"),
        line("3", "a"),
        line("3", "b", False),
        line("2", "b", stage="x"),
    ]
    assert closed_in(rows, "ingest", {"a", "b"}) == {"1"}


def test_the_newest_closing_of_a_stage_counts() -> None:
    early, late = datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
    rows = [
        line("1", "a", stage="labels") | {"closed_at": early},
        line("2", "a", stage="labels", closed=False) | {"closed_at": late},
        line("2", "a") | {"closed_at": late},
    ]
    assert newest_closing(rows, "labels") == early
    assert newest_closing(rows, "scoring") is None


def test_days_needed_start_with_the_history() -> None:
    start = USE_CASE.history_start
    assert days_needed(USE_CASE, start) == [start]
    later = days_needed(USE_CASE, date(2013, 3, 1))
    assert len(later) == USE_CASE.history_days + 1
    assert later[-1] == date(2013, 3, 1)


def test_labels_close_one_horizon_later() -> None:
    assert label_days(USE_CASE, [date(2013, 1, 5)]) == [date(2013, 1, 4)]
    assert label_days(USE_CASE, [USE_CASE.history_start]) == []


def test_a_released_row_is_in_quarantine_too_and_counts_once() -> None:
    quarantined = {("f", 1, "2013-01-01"): 1, ("f", 2, "2013-01-01"): 1}
    assert unreleased(quarantined, {("f", 2, "2013-01-01"): 1, ("f", 3, "2013-01-01"): 1}) == {
        ("f", 1, "2013-01-01"): 1
    }
    assert unreleased(quarantined, {}) == quarantined


def test_the_book_is_read_once_however_many_days_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A year's window read it once a day: seven minutes before preprocessing, seven after."""
    days = [USE_CASE.history_start + timedelta(days=number) for number in range(60)]
    closed, reads = {day.isoformat() for day in days[:50]}, []

    def read(*_: object) -> set[str]:
        reads.append(1)
        return closed

    monkeypatch.setattr(book, "closed_days", read)
    assert book.earlier_days_open(USE_CASE, days) == [day.isoformat() for day in days[50:]]
    assert len(reads) == 1
    monkeypatch.setattr(book, "subjects_by_day", lambda _, asked: Counter(dict.fromkeys(book.names_of(asked), 3)))
    monkeypatch.setattr(book.lake, "count_by", lambda _, __, ___, ds, *____: {(name,): 3 for name in ds})
    monkeypatch.setattr(book.lake, "merge_rows", lambda *_, **__: 0)
    entries = book.close_preprocess_book(USE_CASE, days, "run")
    assert len(reads) == 2
    labelled = [entry.ds for entry in entries if entry.stage == book.LABELLING]
    assert labelled == [day.isoformat() for day in days[:49]], "the last ingested day's horizon is still open"


@pytest.mark.parametrize("at_once", [1, 31])
def test_subjects_are_counted_by_the_day_of_their_prediction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_once: int
) -> None:
    """Flights are announced a day ahead at most, and predicted an hour before they leave."""

    def flight(name: str, leaves: str, announced: str, file: str = "f") -> dict[str, object]:
        moment = datetime.fromisoformat(f"{leaves}Z")
        return {"id": name, "scheduled_departure": moment, "ds": announced, "landing_key": file}

    rows = [
        flight("day before", "2013-01-02T10:00", "2013-01-01"),
        flight("same day", "2013-01-02T10:00", "2013-01-02"),
        flight("predicted on the day before", "2013-01-02T00:59", "2013-01-01"),
        flight("announced too late", "2013-01-02T00:59", "2013-01-02"),
        flight("announced too early", "2013-01-03T10:00", "2013-01-01"),
        flight("withdrawn", "2013-01-02T10:00", "2013-01-02", "bad"),
        flight("another day", "2013-01-03T10:00", "2013-01-02"),
    ]
    write_deltalake(tmp_path, pa.Table.from_pylist([*rows, *rows[:1]]), partition_by=["ds"])
    monkeypatch.setattr(book.lake, "open_table", lambda *_, **__: DeltaTable(str(tmp_path)))
    monkeypatch.setattr(book, "retracted_files", lambda *_: ["bad"])
    monkeypatch.setattr(book, "DAYS_AT_ONCE", at_once)
    days = [date(2013, 1, 1), date(2013, 1, 2)]
    assert book.subjects_by_day(USE_CASE, days) == {"2013-01-01": 1, "2013-01-02": 2}
