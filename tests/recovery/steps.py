"""Steps of the recovery tests, run in a process with a Spark session: release under another contract."""

import dataclasses
from datetime import date

from include import book
from include.impact import ranges_to_derive
from include.spark_jobs import ingest_raw, preprocess_features, release_quarantine
from include.spark_jobs.catalog import days_between
from include.use_case import UseCase
from tests.spark_jobs import steps

SOURCE = "weather"
FIELD = "temperature_f"
#: Some hours of the days at hand are warmer.
TOO_STRICT = 36.0


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
    ingest_raw.ingest(spark, use_case, days, "load")
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
        again = days_between(first, last)
        book.close_ingest_book(use_case, again, run_id)
        preprocess_features.preprocess(steps.session(), use_case, again, run_id)
        book.close_preprocess_book(use_case, again, run_id)
    return spans
