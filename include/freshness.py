"""What is late or wrong now, as alerts: a stale refresh, a day that has not come, missing days, a broken threshold.

Pure but for ``last_refresh`` and ``quality_rows``, which look it up. It tells nobody (see ``alerts``).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pymysql
from deltalake.exceptions import TableNotFoundError

from include import lake
from include.alerts import Alert
from include.quality import shortfalls
from include.settings import MysqlSettings
from include.spark_jobs.refresh_serving import statement
from include.tables import DATA_QUALITY

DAY = timedelta(days=1)
#: So many gaps are told of at once, the newest; older ones when these are closed.
MOST_GAPS = 10


def last_refresh(settings: MysqlSettings) -> datetime | None:
    """When the short-term store was last refreshed (UTC); None if never."""
    connection = pymysql.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement("create_refresh_log"))
        cursor.execute(statement("last_refresh"))
        (moment,) = cursor.fetchone() or (None,)
    return None if moment is None else moment.replace(tzinfo=UTC)


def stale_refresh(last: datetime | None, now: datetime, limit: timedelta) -> list[Alert]:
    """An alert if the last refresh is older than ``limit``; before the first refresh there is nothing to be stale."""
    if last is None or now - last <= limit:
        return []
    words = f"MySQL was last refreshed at {last:%Y-%m-%d %H:%M} UTC, more than {limit} ago"
    return [Alert("refresh_stale", "refresh_serving", words, f"{last:%Y-%m-%dT%H:%M}")]


def late_day(closed: Iterable[str], now: datetime, limit: timedelta, last_day: date | None) -> list[Alert]:
    """An alert if the day after the newest closed one ended more than ``limit`` ago.

    ``last_day`` is the last day that the upstream has; when it has passed, no day can be late.
    """
    days = sorted(closed)
    if not days or (last_day is not None and last_day < now.date() - DAY):
        return []
    missing = date.fromisoformat(days[-1]) + DAY
    end = datetime.combine(missing + DAY, datetime.min.time(), UTC)
    if now - end <= limit:
        return []
    words = f"{missing} ended {now - end} ago and its ingest book is not closed (newest closed day: {days[-1]})"
    return [Alert("day_late", "ingest_raw", words, missing.isoformat())]


def facts_begin(closed: Iterable[str], history_start: date, history_days: int) -> date | None:
    """From which day on every day should be ingested; None while none is.

    That is ``history_start`` where the first closed day's windows reach back to it: they lack what is not there. A
    deployment that took up the facts later is asked for none before its first day.
    """
    days = [date.fromisoformat(ds) for ds in closed]
    after = [day for day in days if day >= history_start]
    if not after:
        return None
    return history_start if min(after) - history_start <= timedelta(days=history_days) else min(after)


def gaps(closed: Mapping[str, datetime], begin: date | None, now: datetime, limit: timedelta) -> list[Alert]:
    """An alert for each run of days from ``begin`` on that are not closed although a later day is.

    ``closed`` are closed days with the time at which they were. A gap whose next day was closed not longer than
    ``limit`` ago is not told: its days may be on their way, as in a backfill.
    """
    if begin is None:
        return []
    found, expected = [], begin
    for ds, since in sorted(closed.items()):
        day = date.fromisoformat(ds)
        if day > expected and now - since > limit:
            found.append(_gap(expected, day - DAY, day))
        expected = max(expected, day + DAY)
    return found[-MOST_GAPS:]


def _gap(first: date, last: date, following: date) -> Alert:
    words = (
        f"{first} to {last} (days: {(last - first).days + 1}) have no closed ingest book, though {following} has: "
        f'trigger ingest_window with {{"from": "{first}", "to": "{last}"}} once their files have landed'
    )
    # The last of them stays while the days are made up for in their order, so that nobody is told again of the rest.
    return Alert("day_late", "ingest_raw.gap", words, last.isoformat())


def broken_thresholds(rows: Iterable[Mapping[str, Any]], thresholds: Mapping[str, float]) -> list[Alert]:
    """One alert per source, day and dimension below its threshold."""
    return [
        Alert("quality", f"{found.source}.{found.dimension}", found.words(), found.ds)
        for found in shortfalls(rows, thresholds)
    ]


def quality_rows(use_case: str, days: Sequence[str]) -> list[dict[str, Any]]:
    """The scorecard of some days; empty while there is no table."""
    try:
        return lake.read_rows(use_case, DATA_QUALITY.name, ["ds", "source", "dimension", "value", "time"], days)
    except TableNotFoundError:
        return []
