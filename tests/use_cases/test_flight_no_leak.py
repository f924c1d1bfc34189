"""No fact from the prediction time on, and no fact about the subject itself, reaches a feature.

Each case lives in a world of its own (own airports, carriers, aircraft), so that Spark computes all of them at once,
on the batch layer's own path: typed facts -> tiles -> features.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from include.contracts.columns import with_times
from include.contracts.contract import Contract
from include.features.assemble import feature_rows
from include.tables import SPARK_TYPES
from include.tiles.build import build_tiles
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
DEPARTURE = datetime(2013, 3, 5, 15, 0, tzinfo=UTC)
#: Half a minute after the last tile border, so that "before t, but after the border" exists.
PREDICTION = datetime(2013, 3, 5, 14, 0, 30, tzinfo=UTC)
BORDER = PREDICTION.replace(second=0)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
#: The place of each source's time that decides its minute, and how far availability lies behind it.
TIMES = {
    "schedule": ("scheduled_departure", 0),
    "departures": ("actual_departure", 0),
    "arrivals": ("actual_arrival", 0),
    "cancellations": ("scheduled_departure", 0),
    "weather": ("observed_at", 60),
}
PLANES_AND_AIRPORTS = {
    reference.name: pa.table({name: pa.array([], pa.string()) for name in [reference.key_column, *reference.columns]})
    for reference in USE_CASE.features.references
}
IDENTITY = ("carrier", "origin", "dest", "tailnum", "id")
Facts = dict[str, list[dict[str, Any]]]


def fact(source: str, moment: datetime, name: str, **changes: Any) -> dict[str, Any]:
    """A fact of the subject's carrier, flight number, route and aircraft whose minute is that of ``moment``."""
    field, minutes_behind = TIMES[source]
    values: dict[str, Any] = {
        "id": name, "carrier": "UA", "flight": 7, "origin": "EWR", "dest": "IAH", "tailnum": "N1", "distance": 1400,
        "scheduled_departure": moment, "scheduled_arrival": moment, "departure_delay": 40, "arrival_delay": 50,
    }  # fmt: skip
    values |= {field.name: 3.0 for field in USE_CASE.source("weather").fields if field.type == "double"}
    values |= {field: moment - timedelta(minutes=minutes_behind), **changes}
    return {name: values.get(name) for name in USE_CASE.source(source).field_names}


def subject_facts() -> Facts:
    """Everything about the subject itself: it left 43 minutes early, the earliest that ever happened."""
    early = DEPARTURE - timedelta(minutes=43)
    return {
        "schedule": [fact("schedule", DEPARTURE, "self")],
        "departures": [fact("departures", early, "self", scheduled_departure=DEPARTURE, departure_delay=-43)],
        "arrivals": [fact("arrivals", DEPARTURE + timedelta(hours=3), "self")],
        "cancellations": [],
    }


def history() -> Facts:
    """One earlier fact of every source, so that features have values to change."""
    hour_ago = BORDER - timedelta(hours=1)
    return {source: [fact(source, hour_ago, f"old-{source}")] for source in TIMES}


def merged(*parts: Facts) -> Facts:
    """The facts of all parts."""
    return {source: [row for part in parts for row in part.get(source, [])] for source in TIMES}


BASE = merged(history(), subject_facts())


def planted(source: str, moment: datetime) -> Facts:
    """The base world and one very different fact more."""
    extreme: dict[str, Any] = {"departure_delay": 500, "arrival_delay": 500}
    extreme |= {field.name: 9.0 for field in USE_CASE.source("weather").fields if field.type == "double"}
    names = USE_CASE.source(source).field_names
    changes = {name: value for name, value in extreme.items() if name in names}
    return merged(BASE, {source: [fact(source, moment, "planted", **changes)]})


def cancelled_itself() -> Facts:
    """The subject never left: no departure, no arrival, a cancellation."""
    return merged(
        history(),
        {"schedule": subject_facts()["schedule"], "cancellations": [fact("cancellations", DEPARTURE, "self")]},
    )


def changed_itself() -> Facts:
    """The subject's own facts with other delays, and a timetable that says something else about it."""
    facts = copy.deepcopy(subject_facts())
    facts["departures"][0] |= {"departure_delay": 900, "actual_departure": DEPARTURE + timedelta(minutes=900)}
    facts["arrivals"][0] |= {"arrival_delay": 900, "actual_arrival": DEPARTURE + timedelta(minutes=1100)}
    facts["schedule"][0] |= {"scheduled_arrival": DEPARTURE + timedelta(hours=9)}
    return merged(history(), facts)


AFTER = {
    "at the border": BORDER,
    "after the border": BORDER + 20 * SECOND,
    "at t": PREDICTION,
    "later": PREDICTION + MINUTE,
}
WORLDS: dict[str, Callable[[], Facts]] = {
    "base": lambda: BASE,
    "itself cancelled": cancelled_itself,
    "itself changed": changed_itself,
    "itself without any fact": lambda: merged(history(), {"schedule": subject_facts()["schedule"]}),
    "itself not even scheduled": history,
    **{f"{s} {when}": lambda s=s, at=at: planted(s, at) for s in TIMES for when, at in AFTER.items()},  # type: ignore[misc]
    **{f"{s} before the border": lambda s=s: planted(s, BORDER - SECOND) for s in TIMES},  # type: ignore[misc]
}


def in_world(row: dict[str, Any], number: int) -> dict[str, Any]:
    """The fact with keys that no other world has."""
    return {name: f"{value}.{number}" if name in IDENTITY else value for name, value in row.items()}


def typed(spark: SparkSession, contract: Contract, rows: list[dict[str, Any]]) -> Any:
    """Facts as a typed DataFrame."""
    schema = ", ".join(f"`{field.name}` {SPARK_TYPES[field.type]}" for field in contract.fields)
    return spark.createDataFrame([tuple(row[name] for name in contract.field_names) for row in rows], schema)


@pytest.fixture(scope="module")
def features(spark: SparkSession) -> dict[str, dict[str, Any]]:
    """World -> the features of its subject, without the names that differ between worlds."""
    numbered = list(enumerate(WORLDS.items()))
    facts = {
        c.name: with_times(
            typed(spark, c, [in_world(row, number) for number, (_, make) in numbered for row in make()[c.name]]), c
        )
        for c in USE_CASE.sources
    }
    asked = {**subject_facts()["schedule"][0], "prediction_time": PREDICTION}
    subjects = typed(spark, USE_CASE.subject, [in_world(asked, number) for number, _ in numbered])
    tiles = build_tiles(facts, USE_CASE.sources, USE_CASE.tiles)
    rows = feature_rows(subjects, tiles, PLANES_AND_AIRPORTS, USE_CASE, buckets=1).collect()
    by_id = {row["subject_id"]: row.asDict() for row in rows}
    numeric = USE_CASE.features.numeric
    return {name: {f: by_id[f"self.{number}"][f] for f in numeric} for number, (name, _) in numbered}


@pytest.mark.parametrize("world", [name for name in WORLDS if name != "base" and "before" not in name])
def test_what_nobody_could_know_changes_no_feature(features: dict[str, dict[str, Any]], world: str) -> None:
    assert features[world] == features["base"]


@pytest.mark.parametrize("source", list(TIMES))
def test_what_was_known_a_second_before_the_border_changes_features(
    features: dict[str, dict[str, Any]], source: str
) -> None:
    before = features[f"{source} before the border"]
    assert {name for name, value in before.items() if value != features["base"][name]}


def test_every_source_has_features_that_it_moves(features: dict[str, dict[str, Any]]) -> None:
    base = features["base"]
    moved = {
        source: {name for name, value in features[f"{source} before the border"].items() if value != base[name]}
        for source in TIMES
    }
    assert "origin_queue_3h" in moved["schedule"] and "previous_departure_delay" in moved["departures"]
    assert (
        "flight_arrived_7d_late_rate" not in moved["departures"] and "dest_arrived_3h_delay_mean" in moved["arrivals"]
    )
    assert "origin_cancelled_3h_rate" in moved["cancellations"] and "weather_temperature_f" in moved["weather"]
