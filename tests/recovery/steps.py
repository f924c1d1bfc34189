"""Steps of the recovery tests, run in a process with a Spark session: release under another contract."""

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

from include import book, lake, metrics
from include.alerts import Alert, tell
from include.broadcast import broadcast
from include.bundle.store import S3Store
from include.impact import ranges_left_behind, ranges_to_derive
from include.landing import s3_client
from include.ledger import Entry, append
from include.locations import LANDING_BUCKET, MODELS_BUCKET, SUCCESS_MARKER, Topics, landing_prefix
from include.maintenance import Retention, maintain
from include.retraction import choose, record, withdrawals
from include.settings import KafkaSettings, MysqlSettings, S3Settings
from include.spark_jobs import ingest_raw, preprocess_features, refresh_serving, release_quarantine
from include.spark_jobs.catalog import days_between
from include.tables import all_tables
from include.target import BINARY
from include.tombstones import Event
from include.training.dataset import Tables
from include.training.messages import model_quality
from include.training.metrics import Quality
from include.use_case import UseCase
from tests.spark_jobs import steps
from tests.spark_jobs.served import message, send

SOURCE = "weather"
FIELD = "temperature_f"
#: Some hours of the days at hand are warmer.
TOO_STRICT = 36.0
#: What the name of a file that comes again begins with.
ANEW = "anew-"


def with_contract(name: str, version: int, maximum: float | None = None) -> UseCase:
    """The shipped use case under another name, its weather judged by a version of the contract of one's own."""
    use_case = steps.named(name)
    contract = use_case.source(SOURCE)
    fields = tuple(
        dataclasses.replace(field, maximum=maximum if maximum and field.name == FIELD else field.maximum)
        for field in contract.fields
    )
    own = dataclasses.replace(contract, version=version, fields=fields)
    sources = tuple(own if source.name == SOURCE else source for source in use_case.sources)
    return dataclasses.replace(use_case, sources=sources)


def load(name: str, first: date, last: date, maximum: float | None = None) -> None:
    """Ingest and preprocess a span of days, both books closed."""
    use_case, days, spark = with_contract(name, 1, maximum), days_between(first, last), steps.session()
    ingest_raw.ingest(spark, use_case, ingest_raw.plan_ingest(use_case, days), "load")
    book.close_ingest_book(use_case, days, "load")
    preprocess_features.preprocess(spark, use_case, days, "load")
    book.close_preprocess_book(use_case, days, "load")


def release(name: str, first: date, last: date, part: str, dry_run: bool, run_id: str) -> list[str]:
    """Release by version 2 of the contract, which is the shipped one; returns the job's log."""
    days = days_between(first, last)
    use_case = with_contract(name, 2)
    return release_quarantine.release(steps.session(), use_case, SOURCE, days, part, dry_run, run_id).lines()


def derive(name: str, source: str, days: list[date], run_id: str) -> list[tuple[date, date]]:
    """Derive again what depends on a source's facts of some days; returns the spans."""
    use_case = with_contract(name, 2)
    spans = ranges_to_derive(use_case, source, days)
    for first, last in spans:
        book.close_ingest_book(use_case, days_between(first, last), run_id)
        _derived(use_case, first, last, run_id)
    return spans


def deliver_anew(name: str, source: str, day: date, run_id: str) -> list[tuple[date, date]]:
    """A day's files come again under other names, and are ingested and derived as ``ingest_window`` does for that day.

    Returns the spans that it starts another run for, which are derived too.
    """
    use_case, client, prefix = with_contract(name, 2), s3_client(), landing_prefix(name, source, day)
    for item in client.list_objects_v2(Bucket=LANDING_BUCKET, Prefix=prefix)["Contents"]:
        file = item["Key"].removeprefix(prefix)
        if file != SUCCESS_MARKER:
            origin = {"Bucket": LANDING_BUCKET, "Key": item["Key"]}
            client.copy_object(Bucket=LANDING_BUCKET, CopySource=origin, Key=f"{prefix}{ANEW}{file}")
    ingest_raw.ingest(steps.session(), use_case, ingest_raw.plan_ingest(use_case, [day]), run_id)
    book.close_ingest_book(use_case, [day], run_id)
    began = datetime.now(UTC)
    _derived(use_case, day, day, run_id)
    spans = ranges_left_behind(use_case, run_id, [day], began)
    for first, last in spans:
        _derived(use_case, first, last, run_id)
    return spans


def _derived(use_case: UseCase, first: date, last: date, run_id: str) -> None:
    days = days_between(first, last)
    preprocess_features.preprocess(steps.session(), use_case, days, run_id)
    book.close_preprocess_book(use_case, days, run_id)


def withdraw(name: str, event: Event, source: str, day: date, run_id: str, file: str = "") -> None:
    """Withdraw or restore a source's day, or one file of it; nothing is derived yet."""
    use_case, now = with_contract(name, 2), datetime.now(UTC)
    tables = Tables.on_s3(name, S3Settings.from_environment())
    found = choose(tables, use_case, event, source, day, run_id, now, file)
    record(name, found, event, "all delays were negated", "ann", run_id, now)


def change(name: str, event: Event, source: str, day: date, file: str = "") -> int:
    """Withdraw or restore a source's day and derive what depended on it; returns how many files are withdrawn now."""
    withdraw(name, event, source, day, f"{event} {datetime.now(UTC)}", file)
    derive(name, source, [day], f"after {event}")
    return len(withdrawals(Tables.on_s3(name, S3Settings.from_environment())))


def ingest_strictly(name: str, day: date, run_id: str) -> None:
    """Ingest a day by the too strict contract."""
    use_case = with_contract(name, 1, TOO_STRICT)
    ingest_raw.ingest(steps.session(), use_case, ingest_raw.plan_ingest(use_case, [day]), run_id)


def close_ingest(name: str, day: date, run_id: str) -> None:
    """Close the ingest book of a day."""
    book.close_ingest_book(with_contract(name, 1, TOO_STRICT), [day], run_id)


def close_preprocess(name: str, day: date, run_id: str) -> None:
    """Close the preprocess and labels books of a day."""
    book.close_preprocess_book(with_contract(name, 1, TOO_STRICT), [day], run_id)


def announce(name: str) -> None:
    """Put metrics messages of three kinds on the topic, and a line into the ledger."""
    moment = "2013-01-02T00:00:00Z"
    head = {"use_case": name, "ds": "2013-01-01", "time": moment, "run_id": "announced"}
    figures, days = Quality(BINARY, 9, 0.7, 0.5, 0.2, 0.1), ["2013-01-01"]
    rows = [
        {**head, "metric_id": "q", "kind": "data_quality", "source": "weather", "dimension": "validity", "value": 0.9},
        {**head, "metric_id": "t", "kind": "runtime", "name": "seconds", "value": 1.5, "instance": "one"},
        model_quality(name, "announced", moment, "m", "candidate", "test", days, figures),
    ]
    broadcast(KafkaSettings.from_environment(), Topics(name).metrics, [(str(row["metric_id"]), row) for row in rows])
    line = Entry(1, "2013-01-02T00:00:00.000Z", "promoted", "m", None, "ann", "better", "announced")
    append(S3Store(S3Settings.from_environment(), MODELS_BUCKET), name, line)


def answer(name: str, day: date) -> None:
    """Put an answer about every subject of a day on the topic, as one who saw everything would have given it."""
    send(Topics(name).predictions, [message(row) for row in lake.read_rows(name, "features", ds=[day.isoformat()])])


def tell_somebody(name: str) -> None:
    """Tell an alert."""
    tell(name, Alert("quality", "weather.validity", "validity is 0.8", "2013-01-01"), {})


def load_metrics(name: str) -> None:
    """Load what was announced."""
    metrics.load_metrics(name, BINARY)


def maintain_tables(name: str) -> None:
    """Compact and vacuum every table; nothing is pinned."""
    names = [table.name for table in all_tables(steps.named(name))]
    maintain(name, names, {}, Retention(), date(2014, 1, 1))


def forget_logs() -> None:
    """Let the session read every table's log anew: somebody has put an older one in its place."""
    jvm: Any = steps.session()._jvm
    jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def empty(name: str, source: str, day: date) -> None:
    """Let a day's landing folder of a source hold no facts, before anything is ingested."""
    client, prefix = s3_client(), landing_prefix(name, source, day)
    for item in client.list_objects_v2(Bucket=LANDING_BUCKET, Prefix=prefix)["Contents"]:
        if not item["Key"].endswith("_SUCCESS"):
            client.delete_object(Bucket=LANDING_BUCKET, Key=item["Key"])


def refresh_keeping(name: str, run_id: str, days: int) -> None:
    """Refresh MySQL with so many closed days."""
    use_case = steps.named(name)
    kept = dataclasses.replace(use_case, serving=dataclasses.replace(use_case.serving, recent_days=days))
    refresh_serving.refresh(steps.session(), kept, MysqlSettings.from_environment(), run_id)
