"""A backfill through Airflow, as one window and day by day: how long each takes, and that both leave the same tables.

    make bench-backfill [ARGS="--days 14"]
    make bench-backfill ARGS="--days 366 --limit 9000" and, as often as it takes, RESUME=1 beside it

``window``: one run of ``ingest_window`` over all days. ``days``: a backfill of ``ingest_raw``, which starts
``preprocess_features`` once per day. Each on a stack that has nothing yet; each keeps a digest of every table's every
day, and ``compare`` lays the two side by side. Time in which a task ran that submits a Spark application, its start
included, is told apart from the rest. A year day by day takes hours: ``--limit`` has it stop after so many seconds,
once the days under way are closed, and the same on the stack that it left goes on. Days that both ways have are
compared.
"""

import argparse
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from include import book
from include.lake import read_rows
from include.landing import s3_client
from include.landing_writer import land_references
from include.tables import all_tables
from include.use_case import UseCase, load_use_case
from include.use_cases.flight_delay import feeder, upstream
from local_stack.airflow_api import AirflowApi, poll
from tests.bench.batch import covered_seconds, timed, wait_until_quiet
from tests.recovery.content import ABOUT_RUNS

#: Tasks that submit a Spark application.
SPARK_TASKS = ("ingest", "preprocess")
PATIENCE_S = 24 * 3600.0
#: Table -> day -> number and hash of its rows.
Digest = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Backfilled:
    """What one way took and made; seconds."""

    mode: str
    days: int
    seconds: float
    in_spark: float
    cores: int
    load_before: float
    digest: Digest

    def words(self) -> str:
        """One line; what a day costs beyond its Spark applications."""
        beyond = (self.seconds - self.in_spark) / self.days
        return (
            f"{self.mode:<8}{self.days} days in {self.seconds:.0f} s ({self.seconds / self.days:.1f} s a day), "
            f"Spark applications {self.in_spark:.0f} s, beyond them {beyond:.1f} s a day; "
            f"{self.cores} cores, load before {self.load_before:.1f}"
        )


def as_window(airflow: AirflowApi, days: Sequence[date]) -> dict[str, list[str]]:
    """One run over all days; returns the run ids by DAG."""
    span = {"from": days[0].isoformat(), "to": days[-1].isoformat()}
    airflow.wait_for_dag("ingest_window")
    run_id = airflow.trigger("ingest_window", span)
    airflow.follow("ingest_window", run_id, PATIENCE_S)
    return {"ingest_window": [run_id]}


def day_by_day(
    airflow: AirflowApi, days: Sequence[date], closed: Callable[[str], set[str]], limit_s: float
) -> dict[str, list[str]]:
    """A backfill of ``ingest_raw``, until all that it starts is done or its time is over; the run ids by DAG.

    ``closed`` tells the days whose book of a stage is closed. Where the stack has such a backfill already, it goes on.
    """
    airflow.wait_for_dag("ingest_raw")
    airflow.wait_for_dag("preprocess_features")
    known = airflow.call("GET", "/backfills", params={"dag_id": "ingest_raw"})["backfills"]
    if known:
        backfill_id = known[0]["id"]
        turn(airflow, backfill_id, "unpause")
    else:
        span = {"from_date": f"{days[0]}T00:00:00Z", "to_date": f"{days[-1]}T23:59:59Z"}
        asked = {"dag_id": "ingest_raw", "max_active_runs": 4, **span}
        backfill_id = airflow.call("POST", "/backfills", json=asked)["id"]
    wanted = book.names_of(days)
    # To ask is work for the same cores: seldom where there is much to do.
    every = max(5.0, len(days) / 12)
    for _ in poll(limit_s, every):
        if closed(book.PREPROCESS) >= set(wanted):
            break
    else:
        turn(airflow, backfill_id, "pause")
        wait_for_days_under_way(airflow, closed)
    found = {}
    for dag_id in ("ingest_raw", "preprocess_features"):
        runs = airflow.runs_since(dag_id, datetime.combine(days[0], datetime.min.time(), UTC))
        found[dag_id] = [run["dag_run_id"] for run in runs if run["partition_key"]]
    return found


def turn(airflow: AirflowApi, backfill_id: int, how: str) -> None:
    """``pause`` or ``unpause`` a backfill; one that has started all its runs cannot be."""
    if airflow.call("GET", f"/backfills/{backfill_id}")["completed_at"] is None:
        airflow.call("PUT", f"/backfills/{backfill_id}/{how}")


def wait_for_days_under_way(airflow: AirflowApi, closed: Callable[[str], set[str]]) -> None:
    """Until no day's ingest is at work and every ingested day is preprocessed."""
    for _ in poll(PATIENCE_S, 5):
        active = airflow.call("GET", "/dags/ingest_raw/dagRuns", params={"state": "running"})["dag_runs"]
        if not active and closed(book.INGEST) <= closed(book.PREPROCESS):
            return


def in_spark(airflow: AirflowApi, runs: Mapping[str, Sequence[str]]) -> float:
    """Seconds in which at least one Spark application of these runs was under way."""
    spans = []
    for dag_id, run_ids in runs.items():
        for run_id in run_ids:
            for task in airflow.task_instances(dag_id, run_id):
                if task["task_id"] in SPARK_TASKS and task["end_date"]:
                    spans.append((datetime.fromisoformat(task["start_date"]), datetime.fromisoformat(task["end_date"])))
    return covered_seconds(spans)


def digest_of(use_case: UseCase) -> Digest:
    """Every table that the days make, but for which run made them when."""
    made = [table.name for table in all_tables(use_case) if table.name.startswith(("raw_", "quarantine_"))]
    found: Digest = {}
    for table in (*made, "tiles", "features", "labels", "book"):
        by_day: dict[str, list[str]] = defaultdict(list)
        for row in read_rows(use_case.name, table):
            kept = {name: value for name, value in row.items() if name not in ABOUT_RUNS}
            by_day[str(row["ds"])].append(
                hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
            )
        found[table] = {
            ds: f"{len(rows)} {hashlib.sha256(''.join(sorted(rows)).encode()).hexdigest()}"
            for ds, rows in by_day.items()
        }
    return found


def backfill(mode: str, day_count: int, limit_s: float, before: Backfilled | None) -> Backfilled:
    """Land the days and take them in, in one of the two ways; or go on with what was done ``before``."""
    airflow, use_case = AirflowApi.from_environment(os.environ), load_use_case("flight_delay")
    days = [use_case.history_start + timedelta(days=number) for number in range(day_count)]
    client = s3_client()
    if before is None:
        land_references(client, feeder.reference_files(upstream.data_folder()))
        feeder.feed(client, days[0], days[-1])
    wait_until_quiet()
    load = os.getloadavg()[0]

    def closed(stage: str) -> set[str]:
        return book.closed_so_far(use_case, stage) & set(book.names_of(days))

    if mode == "window":
        seconds, runs = timed(lambda: as_window(airflow, days))
    else:
        seconds, runs = timed(lambda: day_by_day(airflow, days, closed, limit_s))
    spark = in_spark(airflow, runs)
    total, done = seconds + (before.seconds if before else 0), len(closed(book.PREPROCESS))
    # Reading every row back takes long after long backfills: who waits for the time alone has it now.
    print(f"{mode}: {done} of {day_count} days in {total:.0f} s, Spark applications {spark:.0f} s", flush=True)
    return Backfilled(mode, done, total, spark, os.cpu_count() or 0, load, digest_of(use_case))


def compare(folder: Path) -> int:
    """Print both ways and every day of a table that differs, of those that both have; 1 if any does."""
    one, other = (Backfilled(**json.loads((folder / f"{mode}.json").read_text())) for mode in ("window", "days"))
    print(one.words(), other.words(), sep="\n")
    end = common_end(one, other)
    differing, rows = [], 0
    for table in one.digest:
        for ds in sorted(ds for ds in one.digest[table].keys() | other.digest[table].keys() if ds < end):
            ours, theirs = one.digest[table].get(ds, "0"), other.digest[table].get(ds, "0")
            rows += int(ours.split()[0])
            differing += [f"{table} {ds}"] if ours != theirs else []
    print(f"{rows} rows of {len(one.digest)} tables: {', '.join(differing) + ' differ' if differing else 'all equal'}")
    return 1 if differing else 0


def common_end(one: Backfilled, other: Backfilled) -> str:
    """Up to which day, excluded, both have all: where one ends sooner, its last day's labels are still open."""
    if one.days == other.days:
        return date.max.isoformat()
    use_case = load_use_case("flight_delay")
    shorter = min(one.days, other.days) - use_case.label_horizon_days
    return (use_case.history_start + timedelta(days=shorter)).isoformat()


def main() -> int:
    """Measure one way, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("window", "days", "compare"))
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--limit", type=float, default=PATIENCE_S, help="seconds after which day by day may stop")
    parser.add_argument("--resume", action="store_true", help="go on with what this stack has")
    parser.add_argument(
        "--folder", type=Path, default=Path(".local/backfill"), help="where figures and digests are kept"
    )
    options = parser.parse_args()
    if options.mode == "compare":
        return compare(options.folder)
    kept = options.folder / f"{options.mode}.json"
    before = Backfilled(**json.loads(kept.read_text())) if options.resume else None
    found = backfill(options.mode, options.days, options.limit, before)
    options.folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(found)))
    print(found.words())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
