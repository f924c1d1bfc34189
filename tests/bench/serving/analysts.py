"""Analysts who ask MySQL without a pause, so many at once: what they waited. It knows no target.

What they ask are the five queries of the guide and the dashboards' charts, as Superset puts them, each user in an order
of its own. Two processes, so that Python is not what they wait for.
"""

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pymysql

from dashboard.pages import dashboards
from dashboard.specs import Chart
from include.use_case import load_use_case
from tests.dashboard.test_guide import queries
from tests.spark_jobs.readers import connect

PROCESSES = 2
#: As many rows as Superset asks for at most in a chart of ours.
CHART_ROWS = 1000


@dataclass
class Waits:
    """Seconds of each answer by the statement's name; what failed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Waits") -> None:
        """Put another's answers to these."""
        for name, seconds in other.seconds.items():
            self.seconds.setdefault(name, []).extend(seconds)
        self.failures += other.failures

    @property
    def count(self) -> int:
        """How many answers."""
        return sum(map(len, self.seconds.values()))

    def percentile(self, percent: float, name: str | None = None) -> float:
        """Milliseconds that so many percent of the answers took at most, of one statement or of all."""
        found = self.seconds[name] if name else [second for each in self.seconds.values() for second in each]
        return 1000 * float(np.percentile(found, percent))


def statements() -> dict[str, str]:
    """Name -> statement: the guide's and the charts'."""
    guide = {f"guide {number}": sql for number, sql in enumerate(queries("Five queries for MySQL"), 1)}
    pages = dashboards(load_use_case("flight_delay"))
    charts = [chart for page in pages for chart in page.charts() if chart.dataset.store == "MySQL"]
    return guide | {f"chart {chart.name}": chart_query(chart) for chart in charts}


def chart_query(chart: Chart) -> str:
    """What Superset asks for a chart: its columns and metrics of its data set's statement, grouped by the columns."""
    by = list(dict.fromkeys([*([chart.x] if chart.x else []), *chart.by, *chart.columns]))
    metrics = [f"{metric.sql} AS `{metric.label}`" for metric in chart.metrics]
    grouped = f" GROUP BY {', '.join(by)}" if metrics and by else ""
    condition = f" WHERE {chart.where}" if chart.where else ""
    chosen = ", ".join([*by, *metrics]) or "*"
    return f"SELECT {chosen} FROM ({chart.dataset.sql}) virtual_table{condition}{grouped} LIMIT {CHART_ROWS}"


def _user(
    environment: Mapping[str, str], asked: Sequence[tuple[str, str]], seed: int, stop: threading.Event, waits: Waits
) -> None:
    chance, lock = random.Random(seed), threading.Lock()
    with connect(environment) as connection, connection.cursor() as cursor:
        while not stop.is_set():
            for name, sql in chance.sample(asked, len(asked)):
                started = time.perf_counter()
                try:
                    cursor.execute(sql)
                    cursor.fetchall()
                except pymysql.err.MySQLError as error:
                    waits.failures.append(f"{name}: {error}")
                    continue
                with lock:
                    waits.seconds.setdefault(name, []).append(time.perf_counter() - started)


def _users(
    environment: Mapping[str, str], asked: Sequence[tuple[str, str]], seeds: Sequence[int], stop: threading.Event
) -> Waits:
    found = [Waits() for _ in seeds]
    threads = [
        threading.Thread(target=_user, args=(environment, asked, seed, stop, waits))
        for seed, waits in zip(seeds, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Waits()
    for waits in found:
        total.add(waits)
    return total


def ask(users: int, meanwhile: Callable[[], object], asked: Mapping[str, str] | None = None) -> Waits:
    """Let so many users ask while ``meanwhile`` runs."""
    context = multiprocessing.get_context("spawn")
    chosen = list((asked or statements()).items())
    with context.Manager() as manager, ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        stop = manager.Event()
        futures = [
            pool.submit(_users, dict(os.environ), chosen, list(range(first, users, PROCESSES)), stop)
            for first in range(PROCESSES)
        ]
        try:
            meanwhile()
        finally:
            stop.set()
        total = Waits()
        for future in futures:
            total.add(future.result())
    return total
