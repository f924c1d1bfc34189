"""The flights of 2013 multiplied: more years by moving them whole weeks, more airports by copies under other codes.

A copy has its own airports, airlines and aircraft, so every key sees as many facts as in the real year, and every
window and delay keeps its statistics. It lands files; what is made of them is measured elsewhere.
"""

import argparse
import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd

from include.contracts.contract import Contract
from include.locations import LANDING_BUCKET, SUCCESS_MARKER, landing_prefix, reference_key
from include.use_case import UseCase, load_use_case
from include.use_cases.flight_delay import feeder, redating, upstream
from include.use_cases.flight_delay.contracts import ORIGINS

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: Two characters name an airline: so many copies of the sixteen have codes of their own.
MOST_COPIES = len(DIGITS) ** 2 // 16
FIRST = redating.FIRST_CYCLE
#: So many days are generated at a time.
CHUNK_DAYS = 30
#: Field -> for each copy, what each real code is called there.
Names = dict[str, list[dict[str, str]]]
CODES = {"carrier": 2, "origin": 3, "dest": 3}


def code(number: int, length: int) -> str:
    """A number as an airline or airport code."""
    found = ""
    for _ in range(length):
        number, digit = divmod(number, len(DIGITS))
        found = DIGITS[digit] + found
    return found


def codes(real: list[str], length: int, copies: int) -> list[dict[str, str]]:
    """For each copy, what each real code is called there; the first copy keeps the real ones."""
    free = iter(c for c in (code(number, length) for number in range(len(DIGITS) ** length)) if c not in set(real))
    return [{name: name for name in real}] + [{name: next(free) for name in real} for _ in range(copies - 1)]


@dataclasses.dataclass(frozen=True)
class World:
    """So many copies of the airports of New York, for so many days from ``FIRST`` on."""

    name: str
    copies: int
    day_count: int

    @property
    def days(self) -> list[date]:
        """The days, in order."""
        return [FIRST + timedelta(days=number) for number in range(self.day_count)]

    @property
    def next_day(self) -> date:
        """The day after them, for a night over all that history."""
        return FIRST + timedelta(days=self.day_count)

    @property
    def words(self) -> list[str]:
        """As arguments of a command line, which ``world_from`` reads."""
        return ["--name", self.name, "--copies", str(self.copies), "--days", str(self.day_count)]

    def use_case(self) -> UseCase:
        """The shipped use case under the world's name, whose contracts know its airports."""
        shipped, origins = load_use_case("flight_delay"), self.names("origin", list(ORIGINS))
        allowed = tuple(name for names in origins for name in names.values())
        return dataclasses.replace(
            shipped,
            name=self.name,
            history_start=FIRST,
            sources=tuple(knowing(contract, allowed) for contract in shipped.sources),
            subject=knowing(shipped.subject, allowed),
        )

    def names(self, field: str, real: list[str]) -> list[dict[str, str]]:
        """What the real codes of a field are called in each copy."""
        return codes(real, CODES[field], self.copies)


def parser_of_world(description: str | None) -> argparse.ArgumentParser:
    """A command line that names a world."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", required=True)
    parser.add_argument("--copies", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    return parser


def world_from(options: argparse.Namespace) -> World:
    """The world that a command line names."""
    return World(options.name, options.copies, options.days)


def knowing(contract: Contract, origins: tuple[str, ...]) -> Contract:
    """A contract that allows more airports of departure."""
    fields = (dataclasses.replace(f, allowed=origins) if f.name == "origin" else f for f in contract.fields)
    return dataclasses.replace(contract, fields=tuple(fields))


def land(client: Any, world: World) -> tuple[int, int]:
    """Land all days, the next one and the references, a file for each source and day.

    Returns how many facts all days have, and how many the next one.
    """
    year = upstream.read_upstream(upstream.data_folder())
    names = {field: world.names(field, sorted(year.flights[field].unique())) for field in CODES}
    for reference, table in references(world, names).items():
        client.put_object(Bucket=LANDING_BUCKET, Key=reference_key(world.name, reference), Body=feeder.packed(table))
    facts = sum(land_span(client, world, year, names, span) for span in spans(world))
    return facts, land_span(client, world, year, names, (world.next_day, world.next_day))


def references(world: World, names: Names) -> dict[str, pd.DataFrame]:
    """Every copy's aircraft and airports."""
    planes, airports = (feeder.packaged_reference(upstream.data_folder(), name) for name in ("planes", "airports"))
    flown_to = airports[airports["faa"].isin(names["dest"][0])]
    return {
        "planes": pd.concat(planes.assign(tailnum=aircraft(planes["tailnum"], copy)) for copy in range(world.copies)),
        "airports": pd.concat(flown_to.assign(faa=flown_to["faa"].map(called)) for called in names["dest"]),
    }


def spans(world: World) -> Iterator[tuple[date, date]]:
    """The days in chunks."""
    for number in range(0, world.day_count, CHUNK_DAYS):
        yield world.days[number], world.days[min(number + CHUNK_DAYS, world.day_count) - 1]


def land_span(client: Any, world: World, year: upstream.Upstream, names: Names, span: tuple[date, date]) -> int:
    """Land some days; returns how many facts."""
    facts = 0
    for source, day, rows in feeder.day_tables(redating.redated_facts(*span, year), *span):
        copies = pd.concat([renamed(rows, names, copy) for copy in range(world.copies)])
        prefix = landing_prefix(world.name, source, day)
        client.put_object(Bucket=LANDING_BUCKET, Key=prefix + feeder.FILE_NAME, Body=feeder.packed(copies))
        client.put_object(Bucket=LANDING_BUCKET, Key=prefix + SUCCESS_MARKER, Body=b"")
        facts += len(copies)
    return facts


def renamed(rows: pd.DataFrame, names: Names, copy: int) -> pd.DataFrame:
    """A copy of some facts: other codes and aircraft, and an id of its own, the same in every source."""
    changed = {field: rows[field].map(called[copy]) for field, called in names.items() if field in rows}
    if "tailnum" in rows:
        changed["tailnum"] = aircraft(rows["tailnum"], copy)
    return rows.assign(id=rows["id"] if copy == 0 else code(copy, 2) + "." + rows["id"], **changed)


def aircraft(tailnum: "pd.Series[str]", copy: int) -> "pd.Series[str]":
    """A copy's tail numbers; who has none has none."""
    return tailnum if copy == 0 else tailnum + code(copy, 2)
