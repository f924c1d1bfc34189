"""The world of `make bench-scale`: copies that the contracts accept and whose keys see what the real ones see."""

from datetime import timedelta

import pandas as pd
import pytest

from include.contracts.validator import Valid, validate
from include.use_cases.flight_delay import feeder, redating, upstream
from tests.bench.scale.world import CODES, FIRST, MOST_COPIES, World, codes, references, renamed

DAY = FIRST + timedelta(days=1)
WORLD = World("multiplied", copies=3, day_count=2)


@pytest.fixture(scope="module")
def facts() -> dict[str, pd.DataFrame]:
    """One day of the real facts, as landing files have them."""
    found = redating.redated_facts(DAY, DAY)
    return {source: feeder.as_text(table[table["ds"] == DAY.isoformat()]) for source, table in found.items()}


@pytest.fixture(scope="module")
def names() -> dict[str, list[dict[str, str]]]:
    flights = upstream.read_upstream(upstream.data_folder()).flights
    return {field: WORLD.names(field, sorted(flights[field].unique())) for field in CODES}


def test_the_contracts_accept_every_copy(
    facts: dict[str, pd.DataFrame], names: dict[str, list[dict[str, str]]]
) -> None:
    for contract in WORLD.use_case().sources:
        for copy in range(WORLD.copies):
            rows = renamed(facts[contract.name].drop(columns="ds"), names, copy).astype(object)
            for row in rows.where(rows.notna(), None).head(20).to_dict("records"):
                texts = {name: None if value is None else str(value) for name, value in row.items()}
                assert isinstance(validate(texts, contract), Valid)


def test_copies_share_no_key_and_each_has_the_counts_of_the_real_one(
    facts: dict[str, pd.DataFrame], names: dict[str, list[dict[str, str]]]
) -> None:
    copies = [renamed(facts["departures"], names, copy) for copy in range(WORLD.copies)]
    for column in ("id", "origin", "carrier", "dest", "tailnum"):
        counts = [sorted(copy[column].value_counts()) for copy in copies]
        assert counts[0] == counts[1] == counts[2]
        distinct = [set(copy[column].dropna()) for copy in copies]
        assert len(set.union(*distinct)) == sum(map(len, distinct))


def test_a_flight_has_one_id_in_every_source(
    facts: dict[str, pd.DataFrame], names: dict[str, list[dict[str, str]]]
) -> None:
    left, arrived = (set(renamed(facts[source], names, 2)["id"]) for source in ("departures", "arrivals"))
    real_left, real_arrived = (set(facts[source]["id"]) for source in ("departures", "arrivals"))
    assert len(left & arrived) == len(real_left & real_arrived) > 100


def test_every_copy_finds_its_aircraft_and_airports(
    facts: dict[str, pd.DataFrame], names: dict[str, list[dict[str, str]]]
) -> None:
    tables = references(WORLD, names)
    for column, reference, key in (("tailnum", "planes", "tailnum"), ("dest", "airports", "faa")):
        assert tables[reference][key].is_unique
        known = [
            renamed(facts["departures"], names, copy)[column].isin(tables[reference][key]).sum() for copy in (0, 1)
        ]
        assert known[0] == known[1] > 0


def test_airline_codes_suffice_for_as_many_copies_as_are_said() -> None:
    called = codes([f"Q{digit}" for digit in "0123456789ABCDEF"], 2, MOST_COPIES)
    assert len({name for copy in called for name in copy.values()}) == 16 * MOST_COPIES


def test_a_day_without_facts_of_a_source_lands_a_header(names: dict[str, list[dict[str, str]]]) -> None:
    found = redating.redated_facts(DAY, DAY)
    found["cancellations"] = found["cancellations"].iloc[:0]
    rows = {source: rows for source, _, rows in feeder.day_tables(found, DAY, DAY)}["cancellations"]
    copies = pd.concat(renamed(rows, names, copy) for copy in range(WORLD.copies))
    assert copies.empty and list(copies.columns) == list(rows.columns)
    assert set(copies.columns) == set(WORLD.use_case().source("cancellations").field_names)
