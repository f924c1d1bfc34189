"""Time and memory of ingest, preprocessing, training and refresh as the facts grow, and of one more day after them.

    make bench-scale, or python -m tests.bench.scale [--sizes 0.3 3 30] [--without DuckDB train]

A size is million facts. Each job runs as its DAG would submit it, starts included. ``peak`` is the largest resident set
that any one of its processes had (JVM, Python driver, Python worker, Ray), sampled; ``all`` that of all together.
DuckDB computes the same windows of the same landing files in one process.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from confluent_kafka.cimpl import NewTopic

from include.landing import object_sizes, s3_client
from include.locations import LAKE_BUCKET, LANDING_BUCKET, MODELS_BUCKET, Topics
from include.settings import KafkaSettings
from local_stack.layout import layout_from
from local_stack.spark_conf import long_spans
from tests.bench.batch import download, wait_until_quiet
from tests.bench.scale.job import JOBS, NIGHT
from tests.bench.scale.world import World, land
from tests.kafka_topics import make_topics

#: Facts of a day of one copy.
FACTS_A_DAY = 2800
#: The smallest world has so many days; a larger one first gets copies, then years.
DAYS = 107
COPIES = 10
RIVAL = "DuckDB"
SAMPLE_S = 0.5
MIB = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """What one job took."""

    facts: int
    job: str
    seconds: float
    peak_mib: float
    all_mib: float

    def words(self) -> str:
        """A line of the table."""
        rate = self.facts / self.seconds
        sizes = f"{self.peak_mib:>10.0f}{self.all_mib:>10.0f}"
        return f"{self.facts:>12} {self.job:<18}{self.seconds:>9.1f}{rate:>10.0f}{sizes}"


def world_of(millions: float) -> World:
    """The world with about so many million facts."""
    wanted = millions * 1e6 / (DAYS * FACTS_A_DAY)
    copies = min(COPIES, max(1, round(wanted)))
    days = max(1, math.ceil(DAYS * wanted / copies))
    return World(f"scale_{str(millions).replace('.', '_')}", copies, days)


def watched(name: str, command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command to its end: wall seconds, largest resident set of one process of its tree, and of all (MiB).

    What it prints lies in a file of that name below the stack's state; raises ``RuntimeError`` naming it.
    """
    log = layout_from().logs / f"bench-{name.replace(' ', '-')}.log"
    began, peak, whole = time.monotonic(), 0.0, 0.0
    with log.open("wb") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
    ended = threading.Event()
    root = psutil.Process(process.pid)
    while not ended.wait(SAMPLE_S):
        sizes = list(resident(root))
        peak, whole = max([peak, *sizes]), max(whole, sum(sizes))
        if process.poll() is not None:
            ended.set()
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {log} says why")
    return time.monotonic() - began, peak / MIB, whole / MIB


def resident(root: psutil.Process) -> list[int]:
    """Resident set of each process of a tree, bytes."""
    found = []
    for process in family(root):
        try:
            found.append(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return found


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def submitted(world: World, job: str) -> list[str]:
    """The command of a job; training needs no JVM, and what goes over many days gets Airflow's settings for that."""
    start = [sys.executable] if job == "train" else ["spark-submit", "--master", os.environ["SPARK_MASTER"]]
    long = long_spans(executors=False)
    if job in ("ingest", "preprocess") and world.day_count >= long["days"]:
        start += [word for name, value in long["conf"].items() for word in ("--conf", f"{name}={value}")]
    return [*start, str(Path(__file__).with_name("job.py")), job, *world.words]


def by_duckdb(world: World, folder: Path) -> list[str]:
    """The command of DuckDB over the files."""
    return [sys.executable, "-m", "tests.bench.scale.rival", *world.words, "--folder", str(folder)]


def measure(millions: float, without: Sequence[str]) -> Iterator[Measured]:
    """All jobs of one size but some, each told when it is done."""
    world = world_of(millions)
    topics = Topics(world.name)
    facts = [topics.facts(source.name) for source in world.use_case().sources]
    names = [topics.metrics, topics.batch_events, topics.predictions, topics.models, *facts]
    admin = make_topics(KafkaSettings.from_environment().bootstrap, [NewTopic(name, 1) for name in names])
    landed, next_day = land(s3_client(), world)
    for job in [job for job in JOBS if job not in without]:
        yield Measured(landed, job, *watched(job, submitted(world, job)))
        if job == "preprocess" and RIVAL not in without:
            yield from of_rival(world, landed)
    for job in NIGHT:
        yield Measured(next_day, job, *watched(job, submitted(world, job)))
    admin.delete_topics(names)
    forget(world)


def of_rival(world: World, facts: int) -> Iterator[Measured]:
    """What DuckDB took; where it found no room that is said, and the rest is measured all the same."""
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        download(world.use_case(), world.days, Path(folder))
        try:
            yield Measured(facts, RIVAL, *watched(RIVAL, by_duckdb(world, Path(folder))))
        except RuntimeError as error:
            print(f"{facts:>12} {error}", flush=True)


def forget(world: World) -> None:
    """Remove a world's objects, so that the next one finds room."""
    client = s3_client()
    for bucket in (LANDING_BUCKET, LAKE_BUCKET, MODELS_BUCKET):
        for key in object_sizes(client, bucket, f"{world.name}/"):
            client.delete_object(Bucket=bucket, Key=key)


def main() -> None:
    """Measure and print a table, smallest world first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.3, 3.0, 30.0], help="million facts")
    parser.add_argument("--without", nargs="+", default=[], choices=[RIVAL, "train", "refresh"], help="not measured")
    options = parser.parse_args()
    wait_until_quiet()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    print(f"{'facts':>12} {'job':<18}{'seconds':>9}{'facts/s':>10}{'peak MiB':>10}{'all MiB':>10}", flush=True)
    for millions in sorted(options.sizes):
        for found in measure(millions, options.without):
            print(found.words(), flush=True)


if __name__ == "__main__":
    main()
