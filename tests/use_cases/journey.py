"""A use case's whole way on the real servers: landing files, tables, a trained and promoted model, an answer.

Under a name of the test's own (its topics, tables and ledger are gone afterwards), whatever the use case is about.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import ray

from include import book, lake, metrics, promotion
from include.declaration import PREDICTION_TIME
from include.landing import s3_client
from include.landing_writer import DayFile, land_files, land_references
from include.ledger import champion
from include.quality import shortfalls
from include.settings import MysqlSettings
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving
from include.spark_jobs.catalog import days_between, read_table
from include.tables import DATA_QUALITY
from include.training import train_model
from include.use_case import UseCase, load_use_case
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import spark_process
from tests.speed_service.processes import Running, Stack, stack_of, start_service, until

TOPICS = dict.fromkeys(("metrics", "batch_events", "models", "tiles", "predictions", "rejected"), 1)
RUN_ID = "journey"


@dataclass(frozen=True)
class Arrival:
    """What came of the journey: the use case under its own name, its model, the running predictor and a subject."""

    use_case: UseCase
    model_id: str
    predictor: Running
    subject: dict[str, Any]
    batch: dict[str, Any]
    served: Callable[[], dict[str, Any] | None]


def named(base: str, name: str) -> UseCase:
    """A use case under another name."""
    return dataclasses.replace(load_use_case(base), name=name)


def derive(base: str, name: str, first: date, last: date) -> None:
    """In the process with Spark: ingest and preprocess, every book closed."""
    use_case, days, spark = named(base, name), days_between(first, last), steps.session()
    ingest_raw.ingest(spark, use_case, ingest_raw.plan_ingest(use_case, days), RUN_ID)
    book.close_ingest_book(use_case, days, RUN_ID)
    preprocess_features.preprocess(spark, use_case, days, RUN_ID)
    book.close_preprocess_book(use_case, days, RUN_ID)


def refresh(base: str, name: str) -> dict[str, int]:
    """In the process with Spark: MySQL shows the recent days; rows by table."""
    return refresh_serving.refresh(steps.session(), named(base, name), MysqlSettings.from_environment(), RUN_ID)


def subject_of(base: str, name: str, day: date) -> tuple[dict[str, Any], dict[str, Any]]:
    """In the process with Spark: a subject of a day as a client would send it, and its features as batch has them."""
    use_case, spark = named(base, name), steps.session()
    features = read_table(spark, name, book.FEATURES).where(f"ds = '{day}'").orderBy("subject_id").first()
    assert features is not None
    raw = read_table(spark, name, f"raw_{use_case.subject_source}")
    row = raw.where(raw[use_case.subject.key] == features["subject_id"]).collect()[0]
    fields = [field for field in use_case.subject.fields if field.name != PREDICTION_TIME]
    subject = {field.name: as_json(row[field.name]) for field in fields}
    return subject, {f.name: features[f.name] for f in use_case.features.features}


def as_json(value: Any) -> Any:
    """A value as a client would send it."""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value


def train(use_case: UseCase, first: date, last: date) -> str:
    """A small search and a last training; the candidate's id."""
    span = ["--from", first.isoformat(), "--to", last.isoformat()]
    words = ["--use-case", use_case.name, *span, "--run-id", RUN_ID, "--trials", "2", "--epochs", "4"]
    try:
        found = train_model.train(
            train_model.parse(words), train_model.Systems.from_environment(use_case.name), use_case
        )
    finally:
        ray.shutdown()
    return str(found["model_id"])


@contextmanager
def travelled(
    base: str,
    folder: Path,
    files: Callable[[str], Sequence[DayFile]],
    references: Callable[[str], dict[str, bytes]],
    first: date,
    last: date,
) -> Iterator[Arrival]:
    """Land, derive, train, promote and serve the days ``first`` to ``last``; everything is gone afterwards."""
    with stack_of(TOPICS, base) as stack, spark_process([stack.use_case.name]) as pool:
        use_case, client = stack.use_case, s3_client()
        land_references(client, references(use_case.name))
        land_files(client, files(use_case.name))
        pool.submit(derive, base, use_case.name, first, last).result()
        metrics.load_metrics(use_case.name, use_case.target)
        require_quality(use_case)
        model_id = train(use_case, first, last)
        systems = promotion.Systems.from_environment(use_case.name)
        promoted = promotion.promote(systems, use_case, model_id, RUN_ID, "test")
        assert promoted.promoted, promoted.reasons
        rows = pool.submit(refresh, base, use_case.name).result()
        assert all(rows[table] for table in use_case.serving.statistics), rows
        subject, batch = pool.submit(subject_of, base, use_case.name, last).result()
        yield from _served(stack, folder, model_id, subject, batch)


def _served(
    stack: Stack, folder: Path, model_id: str, subject: dict[str, Any], batch: dict[str, Any]
) -> Iterator[Arrival]:
    head = champion(stack.store, stack.use_case.name)
    assert head is not None and head.model_id == model_id

    def logged() -> dict[str, Any] | None:
        found = [m for m in stack.read(stack.topics.predictions) if m["id"] == subject[stack.use_case.subject.key]]
        return found[-1] if found else None

    running = start_service(stack, folder / "predictor")
    try:
        until(running.ready, "the predictor to have read model and tiles")
        yield Arrival(stack.use_case, model_id, running, subject, batch, logged)
    finally:
        running.stop()


def require_quality(use_case: UseCase) -> None:
    """The scorecard lets these days be trained on, as the DAG asks it."""
    rows = lake.read_rows(use_case.name, DATA_QUALITY.name, ["ds", "source", "dimension", "value", "time"])
    found = [shortfall.words() for shortfall in shortfalls(rows, use_case.quality.thresholds)]
    assert rows and not found, found


def ask_and_compare(arrival: Arrival) -> None:
    """The predictor answers with the promoted model, from the features that batch has of the same subject."""
    status, answer = arrival.predictor.call(f"/v1/{arrival.use_case.name}/predict", {"subjects": [arrival.subject]})
    assert status == 200, answer
    (prediction,) = answer["predictions"]
    assert answer["model_id"] == arrival.model_id and not prediction["degraded"]
    target = arrival.use_case.target
    assert 0.0 < prediction[target.answer] < (target.highest or math.inf)
    served = until(arrival.served, "the answer on the predictions topic")
    assert served["features"] == arrival.batch
