"""The ingest book's equation on random days: it holds through duplicates, restarts and releases, and breaks when a
stage loses, doubles or invents a row. The tables are lists in memory; counting and closing are the book's own code."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import book
from include.use_case import UseCase

DAY = date(2020, 1, 1)
SHOPS = cast(
    UseCase, SimpleNamespace(name="shops", sources=(SimpleNamespace(name="sales"), SimpleNamespace(name="stock")))
)
SOURCES = [contract.name for contract in SHOPS.sources]
Line = tuple[str, int]


@dataclass
class World:
    """What was landed, and what the tables hold, by source; a line is (file, number)."""

    landed: dict[str, list[Line]] = field(default_factory=dict)
    raw: dict[str, list[Line]] = field(default_factory=dict)
    quarantine: dict[str, list[Line]] = field(default_factory=dict)
    duplicates: Counter[str] = field(default_factory=Counter)
    closed: list[Mapping[str, Any]] = field(default_factory=list)

    def rows(self, table: str) -> list[dict[str, Any]]:
        kind, _, source = table.partition("_")
        lines = (self.raw if kind == "raw" else self.quarantine)[source]
        return [{"landing_key": file, "landing_line": line, "ds": DAY.isoformat()} for file, line in lines]

    def count_by(
        self, use_case: str, table: str, columns: Sequence[str], ds: Iterable[str], where: object = None
    ) -> dict[tuple[Any, ...], int]:
        return dict(Counter(tuple(row[column] for column in columns) for row in self.rows(table)))

    def read_rows(self, *_: Any) -> list[dict[str, Any]]:
        """The table ``landing_files``."""
        return [{"ds": DAY.isoformat(), "source": s, "duplicate": count} for s, count in self.duplicates.items()]

    def merge_rows(self, use_case: str, table: Any, rows: Sequence[Mapping[str, Any]], update: str) -> int:
        self.closed += rows
        return len(rows)

    def landed_lines(self, use_case: UseCase, entry: book.Entry) -> set[Line]:
        return set(self.landed[entry.source])

    def counts(self, use_case: UseCase, days: Sequence[date]) -> Counter[tuple[str, str]]:
        return Counter({(DAY.isoformat(), source): len(lines) for source, lines in self.landed.items()})

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The book reads and writes this world."""
        with (
            mock.patch.multiple(
                book.lake, count_by=self.count_by, read_rows=self.read_rows, merge_rows=self.merge_rows
            ),
            mock.patch.multiple(book, count_landed=self.counts, _landed_lines=self.landed_lines),
        ):
            yield

    def close(self) -> list[book.Entry]:
        with self.in_place():
            return book.close_ingest_book(SHOPS, [DAY], "run")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Files of random facts, some bad, some known; the ingest restarted at random; some bad rows released since."""
    world = World()
    for source in SOURCES:
        fates = draw(st.lists(st.lists(st.sampled_from(["good", "bad", "known", "released"]), max_size=8), max_size=4))
        lines = {
            (f"{source}-{file}.csv.gz", line): fate
            for file, fate_of in enumerate(fates)
            for line, fate in enumerate(fate_of, 1)
        }
        world.landed[source] = list(lines)
        world.raw[source] = [line for line, fate in lines.items() if fate in ("good", "released")]
        # A restart finds what was written before it: tables as a set of lines, whatever the order of the commits.
        draw(st.randoms()).shuffle(world.raw[source])
        world.quarantine[source] = [line for line, fate in lines.items() if fate in ("bad", "released")]
        world.duplicates[source] = sum(fate == "known" for fate in lines.values())
    return world


@given(worlds())
@settings(max_examples=300, deadline=None)
def test_the_equation_holds_whatever_came(world: World) -> None:
    for entry in world.close():
        assert entry.landed == entry.ingested + entry.quarantined + entry.duplicate
        assert entry.landed == len(world.landed[entry.source])
        assert entry.ingested == len(world.raw[entry.source])
    assert all(row["closed"] for row in world.closed)


def lose_a_fact(world: World, source: str, number: int) -> bool:
    """The raw table has lost a row. (One that was released is in quarantine still, and counts there again.)"""
    lost = [line for line in world.raw[source] if line not in world.quarantine[source]]
    if lost:
        world.raw[source].remove(lost[number % len(lost)])
    return bool(lost)


def double_a_fact(world: World, source: str, number: int) -> bool:
    if world.raw[source]:
        world.raw[source].append(world.raw[source][number % len(world.raw[source])])
    return bool(world.raw[source])


def lose_a_bad_row(world: World, source: str, number: int) -> bool:
    bad = [line for line in world.quarantine[source] if line not in world.raw[source]]
    if bad:
        world.quarantine[source].remove(bad[number % len(bad)])
    return bool(bad)


def double_a_bad_row(world: World, source: str, number: int) -> bool:
    bad = [line for line in world.quarantine[source] if line not in world.raw[source]]
    if bad:
        world.quarantine[source].append(bad[number % len(bad)])
    return bool(bad)


def invent_a_fact(world: World, source: str, number: int) -> bool:
    world.raw[source].append(("nobody landed this.csv.gz", number))
    return True


def miscount_duplicates(world: World, source: str, number: int) -> bool:
    world.duplicates[source] += 1 + number % 3
    return True


@pytest.mark.parametrize(
    "fault", [lose_a_fact, double_a_fact, lose_a_bad_row, double_a_bad_row, invent_a_fact, miscount_duplicates]
)
@given(world=worlds(), source=st.sampled_from(SOURCES), number=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_stage_that_is_broken_is_found_out(fault: Any, world: World, source: str, number: int) -> None:
    if not fault(world, source, number):
        return
    with pytest.raises(book.BookMismatch, match=f"1 of 2 books do not balance: {DAY} ingest {source}: landed"):
        world.close()
    assert {row["source"] for row in world.closed if not row["closed"]} == {source}
