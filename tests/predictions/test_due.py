"""Which days of predictions are due: closed ones, and again when something under them has changed."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include import book
from include.predictions.due import PARITY, QUALITY, SCORING, Due, Outstanding, due_days, label_span
from include.predictions.positions import Unread
from include.tables import LABELS, TILES
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
START = USE_CASE.history_start
DAY = START + timedelta(days=3)
MORNING = datetime(2026, 11, 24, 6, tzinfo=UTC)
LOGGED = {DAY.isoformat(): 10}
NOTHING = Due((), ())


def line(stage: str, source: str, day: date = DAY, hours: int = 0, landed: int = 10) -> dict[str, Any]:
    return {
        "ds": day.isoformat(),
        "stage": stage,
        "source": source,
        "closed": True,
        "landed": landed,
        "closed_at": MORNING + timedelta(hours=hours),
    }


def labels(day: date = DAY, hours: int = 0) -> list[dict[str, Any]]:
    return [line(book.LABELLING, LABELS.name, day, hours)]


def tiles(day: date = DAY, hours: int = 0) -> list[dict[str, Any]]:
    return [line(book.PREPROCESS, name, day, hours) for name in (book.FEATURES, TILES.name)]


def measured(source: str, hours: int = 1, landed: int = 10) -> list[dict[str, Any]]:
    return [line(SCORING, source, DAY, hours, landed)]


def test_a_day_waits_for_its_labels_and_its_tiles() -> None:
    assert due_days(USE_CASE, LOGGED, []) == NOTHING
    assert due_days(USE_CASE, LOGGED, labels()) == Due((DAY,), ())
    assert due_days(USE_CASE, LOGGED, tiles()) == Due((), (DAY,))
    assert due_days(USE_CASE, LOGGED, tiles()[:1]) == NOTHING, "half a book is not closed"
    assert due_days(USE_CASE, {}, labels() + tiles()) == NOTHING, "nothing was predicted"


def test_a_measured_day_rests() -> None:
    lines = labels() + tiles() + measured(QUALITY) + measured(PARITY)
    assert due_days(USE_CASE, LOGGED, lines) == NOTHING


def test_a_prediction_that_came_late_makes_its_day_due_again() -> None:
    lines = labels() + tiles() + measured(QUALITY, landed=9) + measured(PARITY, landed=9)
    assert due_days(USE_CASE, LOGGED, lines) == Due((DAY,), (DAY,))


def test_a_day_under_it_closed_anew_makes_it_due_again() -> None:
    done = labels() + tiles() + measured(QUALITY) + measured(PARITY)
    earlier, later = DAY - timedelta(days=2), DAY + timedelta(days=1)
    assert due_days(USE_CASE, LOGGED, done + labels(later, hours=2)) == Due((DAY,), ())
    assert due_days(USE_CASE, LOGGED, done + tiles(earlier, hours=2)) == Due((), (DAY,))
    assert due_days(USE_CASE, LOGGED, done + tiles(later, hours=2)) == NOTHING, "no window looks ahead"
    assert due_days(USE_CASE, LOGGED, done + tiles(earlier, hours=0)) == NOTHING


def test_labels_of_subjects_asked_about_early_or_late_belong_to_neighbouring_days() -> None:
    first, last = label_span(USE_CASE, DAY)
    assert first < DAY < last
    assert last - DAY >= timedelta(days=USE_CASE.source(USE_CASE.subject_source).announced_days)
    longer_ago = replace(USE_CASE, prediction_lead_minutes=2 * 1440, label_horizon_days=2)
    assert DAY - label_span(longer_ago, DAY)[0] == timedelta(days=2)


def test_whether_the_job_has_to_run() -> None:
    assert not Outstanding((), NOTHING)
    assert Outstanding((Unread(0, 4, 6),), NOTHING)
    some = Outstanding((Unread(0, 4, 6), Unread(1, 0, 3)), Due((DAY,), (DAY,)))
    assert some.words() == f"5 new messages, 1 days to measure: {DAY}"
