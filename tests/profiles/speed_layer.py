"""A speed layer without Airflow and without a training: two ingested days, an untrained champion, and a replay.

For drills of profiles: what is asked is whether every fact is counted once, every query answered once, and every answer
made of features that batch computes again bit for bit. How good the answers are does not matter here.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include import lake
from include.book import PREPROCESS, closed_so_far
from include.broadcast import broadcast
from include.bundle.store import S3Store
from include.ledger import announcement, append, champion
from include.locations import MODELS_BUCKET, Topics
from include.metrics import load_metrics
from include.settings import KafkaSettings, S3Settings
from include.target import BINARY
from include.use_cases import DEFAULT_USE_CASE
from include.use_cases.flight_delay.upstream import all_facts, data_folder, read_upstream, scheduled_around
from local_stack.layout import REPO_ROOT
from tests.bench.speed import material
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import FIRST, feed

NAME = DEFAULT_USE_CASE
Do = Callable[..., Any]
DAY = timedelta(days=1)


def promote_untrained() -> None:
    """Write an untrained network as a bundle and make it the champion, unless there is one."""
    models, kafka = S3Store(S3Settings.from_environment(), MODELS_BUCKET), KafkaSettings.from_environment()
    if champion(models, NAME) is not None:
        return
    facts = all_facts(scheduled_around(read_upstream(data_folder()), material.FIRST_DAY, material.LAST_DAY))
    tiles, references = material.tile_rows(steps.BASE, facts), material.reference_bytes()
    subjects = material.some_subjects(steps.BASE, facts, material.FITTED_DAYS, 4000)
    fitted = material.features_of(steps.BASE, tiles, references, subjects)
    model_id = material.write_network(models, steps.BASE, fitted, references, 1)
    entry = append(models, NAME, material.promotion(1, model_id))
    broadcast(kafka, Topics(NAME).models, [announcement(NAME, entry)])


def ingest_until(do: Do, last: date) -> None:
    """Land and ingest the days up to ``last`` that the batch layer lacks."""
    closed = closed_so_far(steps.BASE, PREPROCESS)
    first = max(map(date.fromisoformat, closed)) + DAY if closed else FIRST
    if first <= last:
        feed(NAME, last)
        do(steps.ingest_and_preprocess, NAME, first, last, f"until {last}")


def prepare(do: Do) -> date:
    """Days with tiles, a champion; returns the day to replay."""
    if not closed_so_far(steps.BASE, PREPROCESS):
        ingest_until(do, FIRST + DAY)
    promote_untrained()
    return max(map(date.fromisoformat, closed_so_far(steps.BASE, PREPROCESS))) + DAY


def replay(day: date, kills: Sequence[str]) -> str:
    """Replay a day with servers killed at simulated times; what it printed. Its books have to balance."""
    drills = [word for kill in kills for word in ("--kill", kill)]
    command = [sys.executable, "-m", "local_stack.replay", "--from", str(day), "--to", str(day), *drills]
    done = subprocess.run(command, cwd=REPO_ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert all(f"kill -9 {kill.split('@')[0]} " in done.stdout for kill in kills), "a kill was never reached"
    return done.stdout


def judge(do: Do, day: date) -> dict[str, float]:
    """Ingest the replayed day, score its answers; the newest figures of parity by dimension."""
    ingest_until(do, day + DAY)
    do(steps.score, NAME, f"score {datetime.now(UTC):%H%M%S}")
    load_metrics(NAME, BINARY)
    rows = [row for row in lake.read_rows(NAME, "data_quality", ds=[day.isoformat()]) if row["source"] == "predictions"]
    return {row["dimension"]: row["value"] for row in sorted(rows, key=lambda row: str(row["time"]))}
