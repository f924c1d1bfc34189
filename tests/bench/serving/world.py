"""A serving layer with a year behind it: real facts ingested by the real job, labels, answers, an open day on Kafka.

The facts of every day are the real ones, through ``ingest_raw``. Labels are computed from them by pandas, and answers
of the kept days are made up, one for each scheduled flight: features of a year through Spark cost half an hour on two
cores, and neither MySQL nor Hive would notice. It knows nothing of what is measured.
"""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from include.book import close_ingest_book
from include.lake import arrow_schema, open_table
from include.landing import s3_client
from include.landing_writer import put_once
from include.locations import Lake, Topics
from include.settings import S3Settings
from include.tables import LABELS, Table, predictions_table
from include.use_case import UseCase
from include.use_cases.flight_delay import feeder, replay, upstream
from local_stack.replay.topics import Sender

MODEL = "model-of-the-bench"


@dataclass(frozen=True)
class World:
    """``first`` to ``last`` are closed, the day after is open; MySQL keeps the last ``kept`` closed ones."""

    use_case: UseCase
    first: date
    last: date
    kept: int

    @property
    def days(self) -> list[date]:
        """The closed days."""
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]

    @property
    def open_day(self) -> date:
        """The day that only Kafka has."""
        return self.last + timedelta(days=1)

    def job(
        self, name: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a Spark job as its DAG would."""
        command = ["spark-submit", "--master", os.environ["SPARK_MASTER"], f"include/spark_jobs/{name}.py"]
        command += ["--use-case", self.use_case.name, *arguments]
        environment = {**os.environ, **(environment or {})}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)

    def refresh(self, run_id: str) -> "subprocess.Popen[bytes]":
        """Start a refresh of MySQL with the kept days."""
        kept = {"LAMBDA_DL_RECENT_DAYS": str(self.kept)}
        return self.job("refresh_serving", "--run-id", run_id, environment=kept)


def finish(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a job; raises ``RuntimeError`` if it failed."""
    if code := process.wait():
        raise RuntimeError(f"{process.args!r} ended with {code}: its log is above")


def fill(world: World) -> dict[str, float]:
    """Land, ingest, label, answer, and send the open day; seconds of the ingest job and rows of each kind."""
    client = s3_client()
    for key, content in feeder.reference_files(upstream.data_folder()).items():
        put_once(client, key, content)
    feeder.feed(client, world.first, world.last)
    started = time.monotonic()
    span = ["--from", world.first.isoformat(), "--to", world.last.isoformat(), "--run-id", "bench"]
    finish(world.job("ingest_raw", *span))
    ingest = time.monotonic() - started
    close_ingest_book(world.use_case, world.days, "bench")
    outcomes = replay.outcomes(world.first, world.last - timedelta(days=1))
    flights = replay.facts(world.first, world.last)["schedule"]
    departures = {flight["id"]: datetime.fromisoformat(flight["scheduled_departure"]) for flight in flights}
    labels = list(labels_of(outcomes, departures))
    append(world, LABELS, labels)
    answers = list(answers_of(departures, world.last - timedelta(days=world.kept - 1)))
    append(world, predictions_table(world.use_case), answers)
    return {"ingest": ingest, "labels": len(labels), "answers": len(answers), "open facts": send_open_day(world)}


def labels_of(outcomes: Mapping[str, int], departures: Mapping[str, datetime]) -> Iterator[dict[str, Any]]:
    """Rows of the labels table."""
    for subject, label in outcomes.items():
        day = departures[subject].astimezone(UTC).date().isoformat()
        yield {"subject_id": subject, "label": label, "outcome": "bench", "run_id": "bench", "ds": day}


def answers_of(departures: Mapping[str, datetime], first: date) -> Iterator[dict[str, Any]]:
    """Rows of the predictions table: one answer for each flight from ``first`` on, an hour before its departure."""
    chance = random.Random(42)
    for number, (subject, departure) in enumerate(departures.items()):
        moment = departure.astimezone(UTC) - timedelta(hours=1)
        if moment.date() >= first:
            yield {
                **{"id": subject, "prediction_time": moment, "predicted_at": moment, "model_id": MODEL, "sequence": 1},
                **{"probability": chance.random(), "degraded": False, "via": "kafka", "features_hash": "bench"},
                **{"as_of": [("departures", moment)], "kafka_partition": 0, "kafka_offset": number},
                **{"run_id": "bench", "ds": moment.date().isoformat()},
            }


def append(world: World, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a table of the lake."""
    schema = arrow_schema(table)
    content = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)
    open_table(world.use_case.name, table.name)  # a table that is missing would be made here without its comments
    location = Lake(world.use_case.name).path(table.name, "s3")
    options = S3Settings.from_environment().delta_options()
    write_deltalake(location, content, mode="append", partition_by=["ds"], storage_options=options)


def send_open_day(world: World) -> int:
    """The facts of the open day on their topics; how many."""
    sender, topics = Sender(os.environ["KAFKA_BOOTSTRAP"]), Topics(world.use_case.name)
    count = 0
    for source, facts in replay.facts(world.open_day, world.open_day).items():
        for fact in facts:
            sender.send(topics.facts(source), fact["id"], json.dumps(fact).encode())
            count += 1
    sender.settle()
    return count
