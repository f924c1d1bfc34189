"""Facts and outcomes for a replay: the same as the landing files and the labels of the batch layer."""

from datetime import date

import pandas as pd
import pytest

from include.contracts.validator import Valid, validate
from include.use_case import load_use_case
from include.use_cases.flight_delay import feeder, replay, upstream

USE_CASE = load_use_case("flight_delay")
DAY = date(2013, 2, 8)  # a snow storm: late, cancelled and diverted ones


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return upstream.facts_of_days(date(2013, 2, 6), date(2013, 2, 10))


def test_facts_are_those_that_land(tables: dict[str, pd.DataFrame]) -> None:
    facts = replay.facts(DAY, DAY)
    landed = {file.source: file.rows for file in feeder.day_files(tables, DAY, DAY)}
    assert {source: len(rows) for source, rows in facts.items()} == landed
    for contract in USE_CASE.sources:
        judged = [validate(row, contract) for row in facts[contract.name]]
        times = [one.available_at for one in judged if isinstance(one, Valid) and one.available_at]
        assert len(times) == len(judged)
        assert times == sorted(times)
        assert {time.date() for time in times} == {DAY}


def test_missing_values_are_null_and_numbers_are_numbers() -> None:
    rows = replay.facts(DAY, DAY)
    assert {type(row["flight"]) for row in rows["departures"]} == {int}
    assert any(row["tailnum"] is None for row in rows["schedule"])
    assert any(row["wind_gust_mph"] is None for row in rows["weather"])


def test_outcomes_say_what_became_of_each_flight(tables: dict[str, pd.DataFrame]) -> None:
    outcomes = replay.outcomes(DAY, DAY)
    asked = tables["schedule"]
    asked = asked[(asked["scheduled_departure"] - replay.LEAD).dt.strftime("%Y-%m-%d") == DAY.isoformat()]
    arrived = tables["arrivals"][tables["arrivals"]["ds"] <= "2013-02-09"].set_index("id")["arrival_delay"]
    departed, cancelled = set(tables["departures"]["id"]), set(tables["cancellations"]["id"])
    kinds = set()
    for subject in asked["id"]:
        if subject in arrived.index:
            kind, wanted = ("late", 1) if arrived[subject] > 15 else ("on_time", 0)
        else:
            kind, wanted = ("cancelled", 1) if subject in cancelled else ("diverted", 1)
            assert subject in cancelled | departed
        kinds.add(kind)
        assert outcomes.pop(subject) == wanted, (subject, kind)
    assert not outcomes
    assert {"on_time", "late", "cancelled"} <= kinds
