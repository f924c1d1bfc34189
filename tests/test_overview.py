"""The overview shows what needs somebody, newest first, and is empty, not broken, before anything has happened."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from include.bundle.store import DirectoryStore
from include.ledger import Entry, append
from include.locations import Models
from include.overview import DAYS, LINES, Overview, gather
from include.refusals import Refusal, keep
from include.target import BINARY
from include.training.dataset import Tables
from include.use_case import UseCase
from tests.test_retraction import event

SHOPS = cast(
    UseCase,
    SimpleNamespace(
        name="shops", target=BINARY, sources=(SimpleNamespace(name="sales"), SimpleNamespace(name="weather"))
    ),
)
LINE = Entry(1, "2020-02-01T00:00:00.000Z", "promoted", "m1", None, "ann", "better", "run-1")
REFUSAL = Refusal("m2", "2020-02-02T00:00:00.000Z", "run-2", "ann", "m1", ("worse",), ())


class World:
    """A lake and a models bucket in folders, empty."""

    def __init__(self, root: Path) -> None:
        self.tables, self.models = Tables(str(root / "lake"), {}), DirectoryStore(root / "models")

    def write(self, table: str, rows: list[dict[str, Any]]) -> None:
        write_deltalake(f"{self.tables.root}/{table}", pa.Table.from_pylist(rows), partition_by=["ds"], mode="append")

    def seen(self) -> Overview:
        return gather(self.tables, self.models, SHOPS)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def line(ds: str, source: str, closed: bool = True) -> dict[str, Any]:
    numbers = {"landed": 3, "ingested": 2, "quarantined": 1, "duplicate": 0, "detail": "" if closed else "line 7 lost"}
    return {"ds": ds, "stage": "ingest", "source": source, "closed": closed, **numbers}


def test_before_anything_has_happened_it_is_empty(world: World) -> None:
    seen = world.seen()
    assert seen.champion is None and not any((seen.ledger, seen.refusals, seen.unjudged, seen.days, seen.quarantine))


def test_decisions_are_shown_newest_first(world: World) -> None:
    append(world.models, "shops", LINE)
    append(world.models, "shops", replace(LINE, sequence=2, model_id="m3", parent_id="m1"))
    keep(world.models, "shops", REFUSAL)
    for model in ("m1", "m2", "m3", "m4"):
        world.models.put(Models("shops").bundle_prefix(model) + "manifest.json", b"{}")
    seen = world.seen()
    assert seen.champion is not None and seen.champion.model_id == "m3"
    assert [entry.sequence for entry in seen.ledger] == [2, 1]
    assert seen.refusals == (REFUSAL,)
    assert seen.unjudged == ("m4",)


def test_books_of_the_newest_days_and_what_does_not_balance(world: World) -> None:
    days = [f"2020-01-{number:02}" for number in range(1, DAYS + 3)]
    world.write("book", [line(ds, source) for ds in days for source in ("sales", "weather")][:-1])
    world.write("book", [line(days[-1], "weather", closed=False)])
    seen = world.seen()
    assert seen.days == tuple(reversed(days))[:DAYS]
    assert seen.columns == (("ingest", "sales"), ("ingest", "weather"))
    assert [(row["ds"], row["source"], row["detail"]) for row in seen.broken] == [(days[-1], "weather", "line 7 lost")]


def rejected(ds: str, line: int, *reasons: str, file: str = "a") -> dict[str, Any]:
    return {"ds": ds, "landing_key": f"{ds}/{file}", "landing_line": line, "reasons": list(reasons)}


def file_of(ds: str, quarantined: int, file: str = "a") -> dict[str, Any]:
    return {"ds": ds, "source": "sales", "landing_key": f"{ds}/{file}", "quarantined": quarantined}


def test_quarantine_names_the_most_frequent_reasons(world: World) -> None:
    rows = [rejected("2020-01-02", number, *(["late", "odd"] if number else ["odd"])) for number in range(3)]
    world.write("quarantine_sales", [*rows, rejected("2020-01-01", 1, "torn")])
    world.write("raw_sales", [rejected("2020-01-01", 2)])
    world.write("landing_files", [file_of("2020-01-02", 3), file_of("2020-01-01", 1), file_of("2020-01-03", 0)])
    first, second = world.seen().quarantine
    assert (first.source, first.ds, first.rows, first.reasons) == ("sales", "2020-01-02", 3, ("odd (3)", "late (2)"))
    assert (second.ds, second.reasons) == ("2020-01-01", ("torn (1)",))


def test_quarantine_is_what_still_needs_somebody(world: World) -> None:
    ds, other = "2020-01-02", "2020-01-03"
    rows = [rejected(ds, 1, "odd"), rejected(ds, 2, "torn"), rejected(ds, 1, "withdrawn", file="b")]
    world.write("quarantine_sales", [*rows, rejected(other, 1, "odd")])
    world.write("raw_sales", [rejected(ds, 1), rejected(other, 1)])
    world.write("landing_files", [file_of(ds, 1), file_of(ds, 1, file="b"), file_of(other, 0)])
    world.write("retractions", [event(f"{ds}/b", "retracted", 1)])
    (left,) = world.seen().quarantine
    assert (left.ds, left.rows, left.reasons) == (ds, 1, ("torn (1)",))


def test_withdrawn_days_and_bounds(world: World) -> None:
    world.write("retractions", [event("a", "retracted", 1), event("b", "retracted", 2), event("a", "restored", 3)])
    for number in range(LINES + 5):
        moment = datetime(2020, 2, 1, tzinfo=UTC) + timedelta(hours=number)
        keep(world.models, "shops", replace(REFUSAL, time=moment.isoformat(), run_id=f"run-{number}"))
    seen = world.seen()
    assert [row["landing_key"] for row in seen.withdrawals] == ["a", "b", "a"]
    assert seen.withdrawn == {"b"}
    assert len(seen.refusals) == LINES and seen.refusals[0].run_id == f"run-{LINES + 4}"
