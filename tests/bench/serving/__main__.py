"""How fast analysts are served, on real flights and running servers: ``make bench-serving``.

    python -m tests.bench.serving [--days 364] [--users 16] [--seconds 60]

Fills a year, refreshes MySQL with 30 days, lets analysts ask MySQL at rest and during a refresh, and asks Hive about
the year beside DuckDB on the same files. One run prints all figures.
"""

import argparse
import os
import time
from collections.abc import Iterator
from datetime import timedelta

import psutil

from include.use_case import load_use_case
from local_stack.airflow_api import poll
from local_stack.analyst import query_mysql
from tests.bench.serving.analysts import Waits, ask
from tests.bench.serving.archive import Answer, compare
from tests.bench.serving.world import World, fill, finish

REFRESHES = 3
KEPT_DAYS = 30


def refreshes(world: World) -> list[float]:
    """Wall seconds of refreshes as jobs, Spark's start included."""
    seconds = []
    for number in range(REFRESHES):
        started = time.monotonic()
        finish(world.refresh(f"bench {number}"))
        seconds.append(time.monotonic() - started)
    return seconds


def wait_until_quiet(seconds: float = 120) -> None:
    """Let the servers finish starting: a figure beside a busy start is none."""
    for _ in poll(seconds, every=5):
        if psutil.cpu_percent(interval=2) < 25:
            return


def waits_table(cases: dict[str, Waits]) -> Iterator[str]:
    """What analysts waited."""
    yield "| MySQL | answers | failed | p50 ms | p95 ms | p99 ms | slowest statement (its p95 ms) |"
    yield "|" + "---|" * 7
    for name, waits in cases.items():
        slowest = max(waits.seconds, key=lambda statement: waits.percentile(95, statement))
        middle, high, top = (waits.percentile(percent) for percent in (50, 95, 99))
        yield (
            f"| {name} | {waits.count} | {len(waits.failures)} | {middle:.0f} | {high:.0f} | {top:.0f} "
            f"| {slowest} ({waits.percentile(95, slowest):.0f}) |"
        )


def archive_table(answers: dict[str, tuple[Answer, Answer]]) -> Iterator[str]:
    """Hive beside DuckDB."""
    yield "| Hive over the year | rows | Hive first s | Hive s | DuckDB s | Hive / DuckDB |"
    yield "|" + "---|" * 6
    for name, (ours, theirs) in answers.items():
        yield (
            f"| {name} | {len(ours.rows)} | {ours.first:.2f} | {ours.median:.2f} | {theirs.median:.2f} "
            f"| {ours.median / theirs.median:.1f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=364)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    use_case = load_use_case("flight_delay")
    world = World(
        use_case, use_case.history_start, use_case.history_start + timedelta(days=options.days - 1), KEPT_DAYS
    )
    filled = fill(world)
    wait_until_quiet()
    load = os.getloadavg()[0]
    seconds = refreshes(world)
    rows = query_mysql(os.environ, "SELECT table_name, row_count FROM refresh_log WHERE run_id = 'bench 0'")
    wait_until_quiet()
    cases = {
        f"{options.users} users, at rest": ask(options.users, lambda: time.sleep(options.seconds)),
        f"{options.users} users, during a refresh": ask(options.users, lambda: finish(world.refresh("bench busy"))),
        "1 user, at rest": ask(1, lambda: time.sleep(options.seconds / 4)),
    }
    answers = compare(use_case.name)
    print(f"\n{len(world.days)} days, {os.cpu_count()} cores, load before {load:.1f}; {filled}")
    print(f"refresh of {KEPT_DAYS} days: {', '.join(f'{s:.1f}' for s in seconds)} s; rows {dict(rows)}")
    print("\n".join([*waits_table(cases), "", *archive_table(answers)]))


if __name__ == "__main__":
    main()
