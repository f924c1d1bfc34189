"""Which days depend on facts of a source, and so are derived again when those change: tiles, features, labels.

Pure, but for the days that are closed and the files that came. It asks the declared windows, not the tables, so that no
day is forgotten; a day that turns out to be the same is written again with the same rows.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from include import book, lake
from include.tables import LANDING_FILES
from include.tiles.spec import days_of_history
from include.use_case import UseCase

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Impact:
    """The days that depend on facts which became available on some day; spans of days, both ends included."""

    features: tuple[date, date]
    labels: tuple[date, date]
    #: What to preprocess so that all of the above (and the tiles) are written again.
    derive: tuple[date, date]


def history_of(use_case: UseCase, source: str) -> int:
    """How many whole days back the windows over a source's tiles reach; 0 if there are none."""
    return days_of_history(tuple(w for w in use_case.features.windows if w.tile.source == source))


def impact_of(use_case: UseCase, source: str, day: date) -> Impact:
    """What depends on the facts of a source that became available on a day.

    A fact counts in tiles from its own day to as many days later as its source announces ahead; windows reach back to
    it from as many days again as they are long. Labels see it from the days whose horizon it lies in.
    """
    ahead = timedelta(days=use_case.source(source).announced_days)
    horizon = timedelta(days=use_case.label_horizon_days)
    history = timedelta(days=history_of(use_case, source))
    last = day + ahead
    return Impact(
        features=(day, last + history),
        labels=(day - horizon, last),
        # Labels of a day are written when the day that ends their horizon is preprocessed.
        derive=(day, day + reach_of(use_case, source)),
    )


def reach_of(use_case: UseCase, source: str) -> timedelta:
    """How long after facts of a source became available days that depend on them are preprocessed."""
    days = max(history_of(use_case, source), use_case.label_horizon_days)
    return timedelta(days=use_case.source(source).announced_days + days)


def days_to_derive(use_case: UseCase, source: str, days: Iterable[date], derived: Iterable[str]) -> list[date]:
    """Of the days that depend on a source's facts of some days those in ``derived``: the others come in their turn."""
    there = set(derived)
    wanted = {day for each in days for day in span(*impact_of(use_case, source, each).derive)}
    return sorted(day for day in wanted if day.isoformat() in there)


def span(first: date, last: date) -> list[date]:
    """Every day from first to last, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Days as spans without gaps, (first, last), in order."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and day - found[-1][1] == ONE_DAY:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def ranges_to_derive(use_case: UseCase, source: str, days: Iterable[date]) -> list[tuple[date, date]]:
    """The spans to preprocess again after a source's facts of some days have changed."""
    return ranges(days_to_derive(use_case, source, days, derivable_now(use_case)))


def ranges_left_behind(
    use_case: UseCase, run_id: str, days: Iterable[date], began: datetime
) -> list[tuple[date, date]]:
    """The spans to preprocess again after a run has ingested and preprocessed some days (see ``left_behind``)."""
    own = list(days)
    reach = max(reach_of(use_case, source.name) for source in use_case.sources)
    looked_at = span(min(own) - reach, max(own))
    files = lake.read_rows(use_case.name, LANDING_FILES.name, ds=book.names_of(looked_at))
    closed = book.closed_since(use_case, book.PREPROCESS)
    return left_behind(use_case, files, run_id, own, {ds: closed.get(ds) for ds in derivable_now(use_case)}, began)


def left_behind(
    use_case: UseCase,
    files: Iterable[Mapping[str, Any]],
    run_id: str,
    own: Iterable[date],
    derived: Mapping[str, datetime | None],
    began: datetime,
) -> list[tuple[date, date]]:
    """The spans that were derived without facts which are there by now.

    Beyond a run's ``own`` days those that facts of these days matter to: files that the run has ingested itself, and
    those that another one has since a day was closed. Of its own days those that it may have read too soon: a file came
    since its preprocessing ``began`` (UTC).

    ``files`` are rows of the table ``landing_files``. ``derived`` are the days that can be derived, and when their book
    was closed, if it is.
    """
    ours, found = set(own), set[date]()
    for row in files:
        if not row["ingested"]:
            continue
        day = date.fromisoformat(str(row["ds"]))
        reached = set(days_to_derive(use_case, str(row["source"]), [day], derived))
        if row["ingested_at"] >= began:
            found |= reached & ours
        if day in ours:
            came, by_us = row["ingested_at"], row["run_id"] == run_id
            found |= {other for other in reached - ours if by_us or _before(derived[other.isoformat()], came)}
    return ranges(found)


def _before(closed: datetime | None, ingested: datetime) -> bool:
    return closed is not None and closed < ingested


def derivable_now(use_case: UseCase) -> set[str]:
    """The days that can be preprocessed, by the book (see ``derivable``)."""
    return derivable(use_case, book.closed_days(use_case, book.INGEST))


def derivable(use_case: UseCase, ingested: Collection[str]) -> set[str]:
    """Of the days whose ingest book is closed those that can be preprocessed, as the days they need are closed too.

    They are derived, or at it: a run that began before the facts changed has read them as they were.
    """
    there = set(ingested)
    return {ds for ds in there if there.issuperset(book.names_of(book.days_needed(use_case, date.fromisoformat(ds))))}
