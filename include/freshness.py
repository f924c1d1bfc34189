"""What is late or wrong now, as alerts: a stale refresh, a day that has not come, a threshold of quality broken.

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
    if not days or (last_day is not None and last_day < now.date() - timedelta(days=1)):
        return []
    missing = date.fromisoformat(days[-1]) + timedelta(days=1)
    end = datetime.combine(missing + timedelta(days=1), datetime.min.time(), UTC)
    if now - end <= limit:
        return []
    words = f"{missing} ended {now - end} ago and its ingest book is not closed (newest closed day: {days[-1]})"
    return [Alert("day_late", "ingest_raw", words, missing.isoformat())]


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
