"""The year's questions to Hive through HiveServer2, beside DuckDB on the same files of the same S3.

DuckDB reads the Parquet files that the Delta tables name now, through PyArrow's dataset of them: columns and days are
pushed down. Both must give the same rows.
"""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb

from include import lake
from local_stack.analyst import query_hive

ROUNDS = 5
TABLES = ("raw_departures", "raw_arrivals", "labels")
#: Written so that both engines understand them.
QUESTIONS = {
    "lateness by month": """
        SELECT SUBSTR(ds, 1, 7) AS month, COUNT(*) AS departed,
               AVG(CASE WHEN departure_delay > 15 THEN 1.0 ELSE 0.0 END) AS late
        FROM raw_departures GROUP BY SUBSTR(ds, 1, 7) ORDER BY month""",
    "airlines at each airport": """
        SELECT origin, carrier, COUNT(*) AS departed, AVG(departure_delay) AS mean_delay, MAX(departure_delay) AS worst
        FROM raw_departures GROUP BY origin, carrier ORDER BY origin, carrier""",
    "delays made up in the air": """
        SELECT d.carrier, COUNT(*) AS flights, AVG(a.arrival_delay - d.departure_delay) AS change
        FROM raw_departures d JOIN raw_arrivals a ON a.id = d.id GROUP BY d.carrier ORDER BY d.carrier""",
}


@dataclass(frozen=True)
class Answer:
    """Seconds of a question: the first time, and the median of the next ones."""

    first: float
    median: float
    rows: list[tuple[Any, ...]]


def timed(ask: Callable[[], list[tuple[Any, ...]]]) -> Answer:
    """Ask once, then ``ROUNDS`` times."""
    seconds = []
    rows: list[tuple[Any, ...]] = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        rows = ask()
        seconds.append(time.perf_counter() - started)
    return Answer(seconds[0], statistics.median(seconds[1:]), rows)


def ask_duckdb(use_case: str, sql: str) -> list[tuple[Any, ...]]:
    """A question to DuckDB, as a user would who opens the tables for it."""
    with duckdb.connect() as connection:
        for table in TABLES:
            connection.register(table, lake.dataset(use_case, table))
        return connection.execute(sql).fetchall()


def same(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    """Whether two answers are equal; means up to the order of their additions."""
    return len(left) == len(right) and all(
        len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return bool(left == right)
    # Spark gives means of decimals four more digits and no more.
    return math.isclose(float(left), float(right), rel_tol=1e-4, abs_tol=1e-4)


def compare(use_case: str) -> dict[str, tuple[Answer, Answer]]:
    """Question -> (Hive's answer, DuckDB's); raises ``AssertionError`` if they differ."""
    found = {}
    for name, sql in QUESTIONS.items():
        theirs = timed(lambda sql=sql: ask_duckdb(use_case, sql))  # type: ignore[misc]
        ours = timed(lambda sql=sql: query_hive(os.environ, sql))  # type: ignore[misc]
        assert same(ours.rows, theirs.rows), f"{name}: Hive says {ours.rows[:3]}, DuckDB {theirs.rows[:3]}"
        found[name] = (ours, theirs)
    return found
