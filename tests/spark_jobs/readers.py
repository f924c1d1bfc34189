"""Analysts who read MySQL without a pause while it is refreshed, and what they saw: for tests and for the drill.

A reading is one statement over the tables of a refresh and over a view: how many rows each has, and of which runs.
It is *torn* when it shows more than one run, or not exactly the rows that ``refresh_log`` says of that run.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pymysql

TABLES = ("hourly_stats", "daily_stats", "recent_predictions", "prediction_stats", "hourly_stats_open")
VIEW = "hourly_stats_now"
#: Per table its rows and runs; the view twice, so that a statement also meets a table by two ways.
STATEMENT = " UNION ALL ".join(
    f"SELECT '{table}', COUNT(*), COUNT(DISTINCT run_id), MIN(run_id) FROM {table}" for table in (*TABLES, VIEW)
)


@dataclass
class Seen:
    """What the readers saw: readings by their content, failures by their text, seconds of each read."""

    readings: dict[tuple[tuple[str, int, int, str | None], ...], int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many reads there were."""
        return len(self.seconds) + len(self.failures)

    def torn(self, logged: Mapping[tuple[str, str], int]) -> list[str]:
        """The readings that no refresh has made; ``logged`` has rows by (run, table), from ``refresh_log``."""
        found = []
        for reading in self.readings:
            runs = {run for _, _, _, run in reading if run is not None}
            if len(runs) > 1 or any(number > 1 for _, _, number, _ in reading):
                found.append(f"more than one run: {reading}")
                continue
            run = next(iter(runs), "")
            rows = {table: count for table, count, _, _ in reading}
            wanted = {table: logged.get((run, table)) for table in TABLES}
            wanted[VIEW] = (wanted["hourly_stats"] or 0) + (wanted["hourly_stats_open"] or 0)
            if rows != wanted:
                found.append(f"run {run} has {wanted}, read {rows}")
        return found


def connect(environment: Mapping[str, str]) -> pymysql.Connection:
    """A connection as the analyst."""
    return pymysql.connect(
        host=environment["MYSQL_HOST"],
        port=int(environment["MYSQL_PORT"]),
        user=environment["MYSQL_ANALYST_USER"],
        password=environment["MYSQL_ANALYST_PASSWORD"],
        database=environment["MYSQL_DATABASE"],
        autocommit=True,
    )


def _read(
    environment: Mapping[str, str], seen: Seen, lock: threading.Lock, stop: threading.Event, pause: float
) -> None:
    connection = connect(environment)
    with connection, connection.cursor() as cursor:
        while not stop.wait(pause):
            started = time.perf_counter()
            try:
                cursor.execute(STATEMENT)
                reading = tuple(cursor.fetchall())
            except pymysql.err.MySQLError as error:
                with lock:
                    seen.failures.append(str(error))
                continue
            with lock:
                seen.seconds.append(time.perf_counter() - started)
                seen.readings[reading] = seen.readings.get(reading, 0) + 1


@contextmanager
def reading(environment: Mapping[str, str], readers: int, pause: float = 0.05) -> Iterator[Seen]:
    """Let so many readers read while the block runs, each ``pause`` seconds after its last read."""
    seen, lock, stop = Seen(), threading.Lock(), threading.Event()
    threads = [threading.Thread(target=_read, args=(environment, seen, lock, stop, pause)) for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def logged_rows(environment: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """Rows by (run, table), as ``refresh_log`` says."""
    connection = connect(environment)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT run_id, table_name, row_count FROM refresh_log")
        return {(run, table): count for run, table, count in cursor.fetchall()}
