"""Which days of predictions are to be measured, or measured again: from the book and the table's log alone.

A day's live quality can be measured when its labels are closed, its parity when its tiles are published. It is
measured again when more predictions of it have come, or when a day it rests on was closed anew.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from deltalake.exceptions import TableNotFoundError

from include import book, lake
from include.predictions.positions import TABLE, Unread, unread_now
from include.settings import KafkaSettings
from include.tables import BOOK, DATA_QUALITY, MODEL_QUALITY
from include.use_case import UseCase

SCORING = "scoring"
#: What the stage's lines of the book are about: live quality goes to the one table, parity to the other.
QUALITY, PARITY = MODEL_QUALITY, DATA_QUALITY.name
Lines = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Due:
    """Days (UTC, in order) whose predictions are to be measured."""

    quality: tuple[date, ...]
    parity: tuple[date, ...]

    def __bool__(self) -> bool:
        return bool(self.quality or self.parity)


def due_now(use_case: UseCase) -> Due:
    """The days to measure at this moment; none while a table is missing."""
    try:
        logged = lake.rows_by_day(use_case.name, TABLE)
        lines = lake.read_rows(use_case.name, BOOK.name, ["ds", "stage", "source", "closed", "landed", "closed_at"])
    except TableNotFoundError:
        return Due((), ())
    return due_days(use_case, logged, lines)


def due_days(use_case: UseCase, logged: Mapping[str, int], lines: Lines) -> Due:
    """The days to measure, given the predictions of each day and the book."""
    lines = list(lines)
    quality = _due(logged, lines, QUALITY, _closed_at(use_case, lines, book.LABELLING), _labelled_with(use_case))
    parity = _due(
        logged,
        lines,
        PARITY,
        _closed_at(use_case, lines, book.PREPROCESS),
        lambda day: book.days_needed(use_case, day),
    )
    return Due(quality, parity)


def label_span(use_case: UseCase, day: date) -> tuple[date, date]:
    """The first and last label day that subjects asked about on ``day`` may belong to.

    A subject's own day is that of its default prediction time; one may ask later, or as soon as it is announced.
    """
    announced = use_case.source(use_case.subject_source).announced_days
    return day - timedelta(days=use_case.lead_days), day + timedelta(days=announced + 1)


def _labelled_with(use_case: UseCase) -> Callable[[date], list[date]]:
    def days(day: date) -> list[date]:
        first, last = label_span(use_case, day)
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    return days


def _closed_at(use_case: UseCase, lines: Lines, stage: str) -> dict[str, datetime]:
    """When each closed day of a stage was last closed."""
    lines = list(lines)
    closed = book.closed_in(lines, stage, book.expected_sources(use_case, stage))
    moments: dict[str, datetime] = {}
    for line in lines:
        ds = str(line["ds"])
        if line["stage"] == stage and ds in closed:
            moments[ds] = max(line["closed_at"], moments.get(ds, line["closed_at"]))
    return moments


def _due(
    logged: Mapping[str, int],
    lines: Lines,
    source: str,
    closed_at: Mapping[str, datetime],
    rests_on: Callable[[date], Iterable[date]],
) -> tuple[date, ...]:
    measured = {str(line["ds"]): line for line in lines if (line["stage"], line["source"]) == (SCORING, source)}
    found = []
    for ds in sorted(ds for ds, rows in logged.items() if rows and ds in closed_at):
        day, before = date.fromisoformat(ds), measured.get(ds)
        newest = max(closed_at[other] for other in book.names_of([day, *rests_on(day)]) if other in closed_at)
        if before is None or before["landed"] != logged[ds] or before["closed_at"] < newest:
            found.append(day)
    return tuple(found)


@dataclass(frozen=True)
class Outstanding:
    """What the Spark job would have to do now."""

    unread: tuple[Unread, ...]
    due: Due

    def __bool__(self) -> bool:
        return bool(self.unread or self.due)

    def words(self) -> str:
        """For the log."""
        messages = sum(part.end - part.start for part in self.unread)
        days = {day.isoformat() for day in (*self.due.quality, *self.due.parity)}
        return f"{messages} new messages, {len(days)} days to measure{': ' if days else ''}{', '.join(sorted(days))}"


def outstanding(use_case: UseCase, kafka: KafkaSettings) -> Outstanding:
    """Whether there is anything to log or to measure; no Spark needed."""
    return Outstanding(tuple(unread_now(use_case.name, kafka)), due_now(use_case))
