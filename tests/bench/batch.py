"""How fast the batch layer is, on the real flights and a running stack: ``make bench-batch``.

    python -m tests.bench.batch [--days 28]

Measures, in one run: rows per second of ingest and of preprocessing (as jobs, Spark's start included), the same windows
by DuckDB on the same files, samples per second of training, and the share of a nightly run that is orchestration: the
time in which no task of its DAGs was running. Windows are also compared: what DuckDB counts, the features must show.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psutil
from deltalake import DeltaTable

from include.book import close_ingest_book, close_preprocess_book
from include.landing import list_landing, s3_client
from include.locations import LANDING_BUCKET, Lake
from include.settings import S3Settings
from include.use_case import UseCase, load_use_case
from local_stack.airflow_api import AirflowApi, now, poll
from tests.bench.duckdb_windows import compute_windows

JOB_DAGS = ("ingest_raw", "preprocess_features", "load_metrics", "refresh_serving")


@dataclass(frozen=True)
class Bench:
    """What is measured, where, and over which days."""

    use_case: UseCase
    airflow: AirflowApi
    days: tuple[date, ...]

    @property
    def nightly(self) -> date:
        """The day after the window, which goes through the nightly path."""
        return self.days[-1] + timedelta(days=1)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds, and what the work returned."""
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result


def feed(bench: Bench) -> None:
    """Landing files of the window and the nightly day."""
    module = f"include.use_cases.{bench.use_case.name}.feeder"
    span = ["--from", bench.days[0].isoformat(), "--to", bench.nightly.isoformat(), "--reference"]
    subprocess.run([sys.executable, "-m", module, *span], check=True)


def job(bench: Bench, name: str) -> None:
    """Run a Spark job over the window as its DAG would."""
    span = ["--from", bench.days[0].isoformat(), "--to", bench.days[-1].isoformat(), "--run-id", "bench"]
    command = ["spark-submit", "--master", os.environ["SPARK_MASTER"], f"include/spark_jobs/{name}.py"]
    subprocess.run([*command, "--use-case", bench.use_case.name, *span], check=True, stdout=subprocess.DEVNULL)


def table(bench: Bench, name: str) -> DeltaTable:
    """A table of the lake."""
    options = S3Settings.from_environment().delta_options()
    return DeltaTable(Lake(bench.use_case.name).path(name, "s3"), storage_options=options)


def download(use_case: UseCase, days: Sequence[date], folder: Path) -> None:
    """The landing files of some days, for DuckDB."""
    client = s3_client()
    for key in list_landing(client, use_case.name, [source.name for source in use_case.sources], days):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(LANDING_BUCKET, key, str(path))


def compare(bench: Bench, windows: Path) -> int:
    """Check that features which are a bare window column equal DuckDB's; returns how many columns were compared."""
    theirs = duckdb.read_parquet(str(windows)).order("subject_id").to_arrow_table()
    ours = table(bench, "features").to_pyarrow_table().sort_by("subject_id")
    columns = [name for name in theirs.column_names if name in ours.column_names and name != "subject_id"]
    assert theirs["subject_id"].to_pylist() == ours["subject_id"].to_pylist(), "not the same subjects"
    for name in columns:
        left, right = (t[name].cast("double").to_numpy() for t in (theirs, ours))
        assert np.array_equal(left, right, equal_nan=True), f"{name} differs from DuckDB's"
    return len(columns)


def training(bench: Bench) -> tuple[float, int]:
    """Trial seconds in all, and rows times epochs that they trained, of one search through Airflow."""
    started = now()
    bench.airflow.wait_for_dag("train_model")
    run_id = bench.airflow.trigger("train_model", {"trials": 4})
    bench.airflow.follow("train_model", run_id, 1800)
    promotion = bench.airflow.wait_for_triggered_run("promote_model", started)
    bench.airflow.follow("promote_model", promotion, 600)
    result = bench.airflow.xcom("train_model", run_id, "follow_search")
    load = bench.airflow.trigger("load_metrics")
    bench.airflow.follow("load_metrics", load, 600)
    trials = table(bench, "training_runs").to_pyarrow_table(filters=[("run_id", "=", result["run_id"])]).to_pylist()
    rows = result["rows"]["train"]
    return sum(trial["seconds"] for trial in trials), sum(trial["epochs"] * rows for trial in trials)


def nightly(bench: Bench) -> tuple[float, float]:
    """Wall seconds of one nightly day from trigger to refreshed MySQL, and of those with a task running."""
    started = now()
    run_id = bench.airflow.trigger("ingest_raw", partition_key=bench.nightly.isoformat())
    bench.airflow.follow("ingest_raw", run_id, 900)
    for dag_id in JOB_DAGS[1:]:
        run_id = bench.airflow.wait_for_triggered_run(dag_id, started)
        bench.airflow.follow(dag_id, run_id, 900)
    spans = list(task_spans(bench, started))
    return (max(end for _, end in spans) - started).total_seconds(), covered_seconds(spans)


def task_spans(bench: Bench, since: datetime) -> Iterable[tuple[datetime, datetime]]:
    """When each task of the nightly DAGs ran."""
    for dag_id in JOB_DAGS:
        for run in bench.airflow.runs_since(dag_id, since):
            for task in bench.airflow.task_instances(dag_id, run["dag_run_id"]):
                if task["start_date"] and task["end_date"]:
                    yield datetime.fromisoformat(task["start_date"]), datetime.fromisoformat(task["end_date"])


def covered_seconds(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """The length of the union of some spans of time, seconds."""
    total, until = 0.0, None
    for start, end in sorted(spans):
        begin = start if until is None else max(start, until)
        if end > begin:
            total += (end - begin).total_seconds()
            until = end
    return total


def wait_until_quiet(seconds: float = 120) -> None:
    """Let the servers finish starting: a figure beside a busy start is none."""
    for _ in poll(seconds, every=5):
        if psutil.cpu_percent(interval=2) < 25:
            return


def measure(bench: Bench, folder: Path) -> list[tuple[str, str]]:
    """All figures, in the order of the data."""
    feed(bench)
    wait_until_quiet()
    ingest, _ = timed(lambda: job(bench, "ingest_raw"))
    landed = sum(
        table(bench, f"raw_{source.name}").to_pyarrow_dataset().count_rows() for source in bench.use_case.sources
    )
    close_ingest_book(bench.use_case, bench.days, "bench")
    preprocess, _ = timed(lambda: job(bench, "preprocess_features"))
    close_preprocess_book(bench.use_case, bench.days, "bench")
    subjects = table(bench, "features").to_pyarrow_dataset().count_rows()
    download(bench.use_case, bench.days, folder)
    windows = folder / "windows.parquet"
    days = [day.isoformat() for day in bench.days]
    rival, rows = timed(lambda: compute_windows(bench.use_case, folder / bench.use_case.name, days, windows))
    assert rows == subjects, f"DuckDB has {rows} subjects, the features table {subjects}"
    equal = compare(bench, windows)
    seconds, samples = training(bench)
    wall, covered = nightly(bench)
    return [
        ("ingest", f"{landed} facts in {ingest:.1f} s = {landed / ingest:.0f} rows/s"),
        ("preprocess", f"{subjects} subjects in {preprocess:.1f} s = {subjects / preprocess:.0f} rows/s"),
        ("DuckDB, windows alone", f"{rows} subjects in {rival:.1f} s = {rows / rival:.0f} rows/s"),
        ("preprocess / DuckDB", f"{preprocess / rival:.1f} x the wall time; {equal} window columns equal"),
        ("training", f"{samples} samples in {seconds:.1f} trial seconds = {samples / seconds:.0f} samples/s a trial"),
        ("nightly run", f"{wall:.0f} s, of which no task ran in {wall - covered:.0f} s = {1 - covered / wall:.0%}"),
    ]


def main(environment: Mapping[str, str] = os.environ) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=28)
    options = parser.parse_args()
    use_case = load_use_case(environment.get("LAMBDA_DL_USE_CASE", "flight_delay"))
    airflow = AirflowApi.from_environment(environment)
    days = tuple(use_case.history_start + timedelta(days=number) for number in range(options.days))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Bench(use_case, airflow, days), Path(folder))
    print(f"\n{len(days)} days, {os.cpu_count()} cores, load before {load:.1f}")
    for name, figure in figures:
        print(f"{name:<24}{figure}")


if __name__ == "__main__":
    main()
