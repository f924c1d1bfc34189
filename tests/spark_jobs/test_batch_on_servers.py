"""Ingest and preprocess against the real S3, metastore and Kafka: repeats, bad rows, books, and day-by-day = window.

Under use-case names of their own, so that the real tables stay as they are.
"""

import gzip
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from include import book, lake
from include.landing import LandingIncomplete, s3_client
from include.locations import LANDING_BUCKET, SUCCESS_MARKER, Topics, landing_prefix
from include.metrics import consume, load_metrics
from include.quality import DIMENSIONS, shortfalls
from include.settings import KafkaSettings
from include.spark_jobs import ingest_raw
from include.spark_jobs.ingest_raw import LandingFileChanged, LandingHeaderWrong
from include.spark_jobs.preprocess_features import EarlierDaysOpen
from include.tables import DATA_QUALITY
from include.target import BINARY
from tests.spark_jobs import steps
from tests.spark_jobs.workshop import DAYS, FIRST, LAST, Workshop

pytestmark = pytest.mark.integration

SCHEDULE = steps.BASE.source("schedule")
BIG = [f"{kind}_{c.name}" for c in steps.BASE.sources for kind in ("raw", "quarantine")] + [
    "tiles",
    "features",
    "labels",
]


def content(name: str, table: str) -> list[str]:
    """A table's rows without what names the run, as sorted texts."""
    rows = lake.read_rows(name, table)
    return sorted(json.dumps(forget_run(row, name), sort_keys=True, default=str) for row in rows)


def forget_run(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    dropped = ("run_id", "closed_at", "ingested_at", "landing_key")
    return {k: v for k, v in row.items() if k not in dropped} | {"file": str(row.get("landing_key")).removeprefix(name)}


@pytest.mark.parametrize("table", [*BIG, "book", "landing_files"])
def test_a_window_gives_the_same_table_as_its_days(both_paths: Workshop, table: str) -> None:
    assert content(both_paths.days, table) == content(both_paths.window, table)


def test_the_books_are_closed_and_not_empty(both_paths: Workshop) -> None:
    rows = lake.read_rows(both_paths.window, "book")
    assert all(row["closed"] for row in rows)
    assert sum(row["landed"] for row in rows if row["stage"] == "ingest") > 5000
    assert book.closed_days(steps.named(both_paths.window), book.LABELLING) == {d.isoformat() for d in DAYS[:-1]}


def test_every_day_was_announced_after_its_commit(both_paths: Workshop) -> None:
    messages = [json.loads(value or b"") for _, _, value in topic(Topics(both_paths.window).batch_events)]
    features = lake.count_by(both_paths.window, "features", ["ds"], [d.isoformat() for d in DAYS])
    assert {m["ds"]: m["rows"] for m in messages} == {d.isoformat(): features.get((d.isoformat(),), 0) for d in DAYS}
    assert {m["run_id"] for m in messages} == {"window"}


def topic(name: str) -> list[tuple[int, int, bytes | None]]:
    return consume(KafkaSettings.from_environment(), name)


def test_metrics_are_loaded_exactly_once(both_paths: Workshop) -> None:
    first = load_metrics(both_paths.window, BINARY)
    nothing = load_metrics(both_paths.window, BINARY)
    assert DATA_QUALITY.name not in nothing.days(), "what was loaded is not read again"
    again = load_metrics(both_paths.window, BINARY, again=True)
    assert again.days()[DATA_QUALITY.name] == first.days()[DATA_QUALITY.name]
    assert first.rejected == 0
    assert first.inserted[DATA_QUALITY.name] == expected_values(both_paths.window)
    assert again.inserted[DATA_QUALITY.name] == 0
    rows = lake.read_rows(both_paths.window, DATA_QUALITY.name, ["metric_id"])
    assert len(rows) == len({row["metric_id"] for row in rows}) == first.inserted[DATA_QUALITY.name]


def expected_values(name: str) -> int:
    """Validity and uniqueness of every source and day; of those with facts also what is computed from facts."""
    quality = steps.BASE.quality
    lines = [row for row in lake.read_rows(name, "book") if row["stage"] == "ingest"]
    of_facts = [
        3 + (line["source"] in quality.accuracy) + (line["source"] in quality.about_subjects)
        for line in lines
        if line["ingested"]
    ]
    return 2 * len(lines) + sum(of_facts)


def test_real_days_pass_the_thresholds(both_paths: Workshop) -> None:
    rows = lake.read_rows(both_paths.window, DATA_QUALITY.name)
    assert shortfalls(rows, steps.BASE.quality.thresholds) == []
    assert {row["dimension"] for row in rows} >= set(DIMENSIONS)


def test_ingesting_again_changes_nothing(both_paths: Workshop) -> None:
    tables = [*BIG, "landing_files"]
    before = {table: lake.open_table(both_paths.window, table).version() for table in tables}
    use_case = steps.named(both_paths.window)
    plan = ingest_raw.plan_ingest(use_case, DAYS)
    assert ingest_raw.nothing_to_do(use_case, plan)
    assert not ingest_raw.nothing_to_do(steps.named("never_seen"), plan), "its tables are to be made"
    assert both_paths.do(steps.ingest, both_paths.window, FIRST, LAST, "again") == []
    assert {table: lake.open_table(both_paths.window, table).version() for table in tables} == before


def test_a_repeat_after_a_crash_between_commits_adds_nothing(both_paths: Workshop) -> None:
    before = content(both_paths.days, "raw_schedule")
    lake.open_table(both_paths.days, "landing_files").delete(f"ds = '{FIRST}' AND source = 'schedule'")
    (file,) = both_paths.do(steps.ingest, both_paths.days, FIRST, FIRST, "repeat")
    assert file["ingested"] == file["rows"] > 0
    assert content(both_paths.days, "raw_schedule") == before
    book.close_ingest_book(steps.named(both_paths.days), [FIRST], "repeat")


def test_a_lost_row_is_found_by_the_book(both_paths: Workshop) -> None:
    lake.open_table(both_paths.days, "raw_schedule").delete(f"ds = '{FIRST}' AND landing_line = 7")
    with pytest.raises(book.BookMismatch, match=r"2012-12-31 ingest schedule: landed (\d+) ≠ .*part-0\.csv\.gz line 7"):
        book.close_ingest_book(steps.named(both_paths.days), [FIRST], "check")
    assert FIRST.isoformat() not in book.closed_days(steps.named(both_paths.days), book.INGEST)
    assert book.earlier_days_open(steps.named(both_paths.days), [LAST]) == [FIRST.isoformat()]
    with pytest.raises(EarlierDaysOpen, match=FIRST.isoformat()):
        both_paths.do(steps.preprocess, both_paths.days, LAST, LAST, "refused")


def flight(number: int, **changes: str) -> dict[str, str]:
    departure = "2013-01-01T12:00:00Z"
    values = {"id": f"f{number}", "carrier": "UA", "flight": str(number), "origin": "EWR", "dest": "IAH", "tailnum": ""}
    values |= {"distance": "1400", "scheduled_departure": departure, "scheduled_arrival": "2013-01-01T15:00:00Z"}
    return values | changes


def put(name: str, source: str, file: str, rows: list[dict[str, str]] | None, day: date = FIRST) -> bytes:
    """Land rows as a CSV file (``None``: an object without any byte) and return its bytes."""
    lines = [",".join(steps.BASE.source(source).field_names)]
    lines += [",".join(f'"{row[n]}"' for n in steps.BASE.source(source).field_names) for row in rows or []]
    body = b"" if rows is None else gzip.compress("\n".join(lines).encode(), mtime=0)
    client = s3_client()
    client.put_object(Bucket=LANDING_BUCKET, Key=landing_prefix(name, source, day) + file, Body=body)
    client.put_object(Bucket=LANDING_BUCKET, Key=landing_prefix(name, source, day) + SUCCESS_MARKER, Body=b"")
    return body


def test_missing_folders_are_named_before_anything_is_written(workshop: Workshop) -> None:
    put(workshop.odd, "schedule", "a.csv.gz", [flight(1)])
    with pytest.raises(LandingIncomplete, match=r"arrivals/ds=2012-12-31/_SUCCESS") as error:
        workshop.do(steps.ingest, workshop.odd, FIRST, FIRST, "odd")
    assert "schedule/ds" not in str(error.value)


def test_odd_files_and_rows(workshop: Workshop) -> None:
    name = workshop.odd
    good = [flight(1), flight(2), flight(2), flight(2, distance="999")]
    bad = [flight(3, flight="many"), flight(4, scheduled_departure="2013-01-05T12:00:00Z")]
    body = put(name, "schedule", "a b%[1].csv.gz", [*good, *bad])
    s3_client().put_object(Bucket=LANDING_BUCKET, Key=landing_prefix(name, "schedule", FIRST) + "b.csv.gz", Body=body)
    put(name, "schedule", "c.csv.gz", [])
    for source in ("departures", "arrivals", "cancellations", "weather"):
        put(name, source, "empty.csv.gz", None)
    workshop.do(steps.ingest, name, FIRST, FIRST, "odd")
    files = {row["landing_key"].rpartition("/")[2]: row for row in lake.read_rows(name, "landing_files")}
    counts = {file: (r["rows"], r["ingested"], r["quarantined"], r["duplicate"]) for file, r in files.items()}
    assert counts["a b%[1].csv.gz"] == (6, 2, 3, 1)
    assert counts["b.csv.gz"] == (6, 0, 0, 6)
    assert counts["c.csv.gz"] == counts["empty.csv.gz"] == (0, 0, 0, 0)
    entries = book.close_ingest_book(steps.named(name), [FIRST], "odd")
    assert {e.source: e.landed for e in entries}["schedule"] == 13
    rows = sorted(lake.read_rows(name, "quarantine_schedule"), key=lambda row: row["landing_line"])
    assert [(row["landing_line"], list(row["reasons"])) for row in rows] == [
        (4, ["id: another fact with this id was ingested before"]),
        (5, ["flight: 'many' is not an integer"]),
        (6, ["row: available on 2013-01-04, landed in 2012-12-31"]),
    ]
    assert all(row["landing_key"].endswith("a b%[1].csv.gz") for row in rows)
    assert json.loads(rows[1]["record"])["flight"] == "many"


def test_a_changed_file_stops_the_job(workshop: Workshop) -> None:
    put(workshop.odd, "schedule", "c.csv.gz", [flight(9)])
    with pytest.raises(LandingFileChanged, match=r"schedule/ds=2012-12-31/c\.csv\.gz has SHA-256"):
        workshop.do(steps.ingest, workshop.odd, FIRST, FIRST, "changed")


def test_a_wrong_header_stops_the_job(workshop: Workshop) -> None:
    put(workshop.odd, "schedule", "c.csv.gz", [])
    key = landing_prefix(workshop.odd, "schedule", FIRST) + "d.csv.gz"
    s3_client().put_object(Bucket=LANDING_BUCKET, Key=key, Body=gzip.compress(b"id,carrier\nx,UA\n"))
    with pytest.raises(LandingHeaderWrong, match=r"d\.csv\.gz: the file lacks 'flight'"):
        workshop.do(steps.ingest, workshop.odd, FIRST, FIRST, "header")
