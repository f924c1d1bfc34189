"""A backfill through Airflow, as one window and day by day: how long each takes, and that both leave the same tables.

    make bench-backfill [ARGS="--days 14"]

``window``: one run of ``ingest_window`` over all days. ``days``: a backfill of ``ingest_raw``, which starts
``preprocess_features`` once per day. Each on a stack that has nothing yet; each keeps a digest of every table's every
day, and ``compare`` lays the two side by side. Time in which a task ran that submits a Spark application, its start
included, is told apart from the rest.
"""

import argparse
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from include import book
from include.lake import read_rows
from include.landing import s3_client
from include.landing_writer import land_references
from include.tables import all_tables
from include.use_case import UseCase, load_use_case
from include.use_cases.flight_delay import feeder, upstream
from local_stack.airflow_api import AirflowApi, now, poll
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


def day_by_day(airflow: AirflowApi, days: Sequence[date], is_done: Callable[[], bool]) -> dict[str, list[str]]:
    """A backfill of ``ingest_raw``, until all that it starts is done; returns the run ids by DAG."""
    airflow.wait_for_dag("ingest_raw")
    airflow.wait_for_dag("preprocess_features")
    started = now()
    span = {"from_date": f"{days[0]}T00:00:00Z", "to_date": f"{days[-1]}T23:59:59Z"}
    airflow.call("POST", "/backfills", json={"dag_id": "ingest_raw", "max_active_runs": 4, **span})
    for _ in poll(PATIENCE_S, every=5):
        if is_done():
            break
    found = {}
    for dag_id in ("ingest_raw", "preprocess_features"):
        runs = airflow.runs_since(dag_id, min(started, datetime.combine(days[0], datetime.min.time(), started.tzinfo)))
        found[dag_id] = [run["dag_run_id"] for run in runs if run["partition_key"]]
    return found


def in_spark(airflow: AirflowApi, runs: Mapping[str, Sequence[str]]) -> float:
    """Seconds in which at least one Spark application of these runs was under way."""
    spans = []
    for dag_id, run_ids in runs.items():
        for run_id in run_ids:
            for task in airflow.task_instances(dag_id, run_id):
                if task["task_id"] in SPARK_TASKS and task["end_date"]:
                    spans.append((datetime.fromisoformat(task["start_date"]), datetime.fromisoformat(task["end_date"])))
    return covered_seconds(spans)


def all_closed(use_case: UseCase, days: Sequence[date]) -> bool:
    """Whether both books of every day are closed."""
    wanted = {day.isoformat() for day in days}
    return all(wanted <= book.closed_so_far(use_case, stage) for stage in (book.INGEST, book.PREPROCESS))


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


def backfill(mode: str, day_count: int) -> Backfilled:
    """Land the days and take them in, in one of the two ways."""
    airflow, use_case = AirflowApi.from_environment(os.environ), load_use_case("flight_delay")
    days = [use_case.history_start + timedelta(days=number) for number in range(day_count)]
    client = s3_client()
    land_references(client, feeder.reference_files(upstream.data_folder()))
    feeder.feed(client, days[0], days[-1])
    wait_until_quiet()
    load = os.getloadavg()[0]
    if mode == "window":
        seconds, runs = timed(lambda: as_window(airflow, days))
    else:
        seconds, runs = timed(lambda: day_by_day(airflow, days, lambda: all_closed(use_case, days)))
    spark = in_spark(airflow, runs)
    # Reading every row back takes long after long backfills: who waits for the time alone has it now.
    print(f"{mode}: {day_count} days in {seconds:.0f} s, Spark applications {spark:.0f} s", flush=True)
    return Backfilled(mode, day_count, seconds, spark, os.cpu_count() or 0, load, digest_of(use_case))


def compare(folder: Path) -> int:
    """Print both ways and every day of a table that differs; 1 if any does."""
    one, other = (Backfilled(**json.loads((folder / f"{mode}.json").read_text())) for mode in ("window", "days"))
    print(one.words(), other.words(), sep="\n")
    differing = [
        f"{table} {ds}"
        for table in one.digest
        for ds in sorted(one.digest[table].keys() | other.digest[table].keys())
        if one.digest[table].get(ds) != other.digest[table].get(ds)
    ]
    rows = sum(int(found.split()[0]) for by_day in one.digest.values() for found in by_day.values())
    print(f"{rows} rows of {len(one.digest)} tables: {', '.join(differing) + ' differ' if differing else 'all equal'}")
    return 1 if differing else 0


def main() -> int:
    """Measure one way, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("window", "days", "compare"))
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument(
        "--folder", type=Path, default=Path(".local/backfill"), help="where figures and digests are kept"
    )
    options = parser.parse_args()
    if options.mode == "compare":
        return compare(options.folder)
    found = backfill(options.mode, options.days)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / f"{options.mode}.json").write_text(json.dumps(asdict(found)))
    print(found.words())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
