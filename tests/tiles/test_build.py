"""Spark's tiles against a brute force in Python, on random facts."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession

from include.contracts.columns import with_times
from include.contracts.contract import Contract, Field, MomentRule
from include.tiles.build import build_tiles, tile_day, tile_expressions, tile_rows
from include.tiles.spec import Measure, Tile

CONTRACT = Contract(
    "readings",
    1,
    "for tests",
    (
        Field("id", "string", ""),
        Field("place", "string", "", nullable=True),
        Field("number", "integer", ""),
        Field("level", "double", "", nullable=True),
        Field("delay", "integer", "", nullable=True),
        Field("at", "timestamp", ""),
    ),
    "id",
    MomentRule("at"),
    MomentRule("at", plus_minutes=30, day_start=True),
)
BY_PLACE = Tile(
    "by_place",
    "readings",
    ("place", "number"),
    (
        Measure("count", "count"),
        Measure("delay_sum", "sum", "delay", clip=(-5, 50)),
        Measure("late_count", "sum", "delay", above=15),
        Measure("delay_max", "max", "delay"),
    ),
)
LATEST = Tile("latest", "readings", ("number",), (Measure("level", "last", "level", scale=10),))
START = datetime(2013, 1, 1, tzinfo=UTC)


def random_facts(count: int) -> list[dict[str, Any]]:
    """Facts in few minutes and places, many of them at once, with nulls."""
    random = np.random.default_rng(7)

    def maybe(value: Any) -> Any:
        return None if random.random() < 0.2 else value

    return [
        {
            "id": f"f{random.integers(0, 10**9)}-{number}",
            "place": maybe(str(random.choice(["x", "y|z", "ü"]))),
            "number": int(random.integers(0, 3)),
            "level": maybe(float(random.choice([0.05, 0.25, -0.25, 1.15, 39.02, -7.95, 2.5]))),
            "delay": maybe(int(random.integers(-80, 80))),
            "at": START + timedelta(seconds=int(random.integers(0, 2 * 86400) // 1200 * 1200 + random.integers(0, 90))),
        }
        for number in range(count)
    ]


def contribution(measure: Measure, fact: dict[str, Any]) -> int | None:
    """What one fact gives to a measure, in plain Python."""
    if measure.field is None:
        return 1
    value = fact[measure.field]
    if value is None:
        return None
    scaled = int(Decimal(repr(value * measure.scale)).quantize(Decimal(1), ROUND_HALF_UP))
    if measure.above is not None:
        return int(scaled > measure.above)
    low, high = measure.clip or (scaled, scaled)
    return min(max(scaled, low), high)


def combined(measure: Measure, facts: list[dict[str, Any]]) -> int | None:
    """One measure of a tile, in plain Python; ``facts`` in the order that ``last`` goes by."""
    values = [contribution(measure, fact) for fact in facts]
    known = [value for value in values if value is not None]
    return {"last": values[-1], "max": max(known, default=None)}.get(measure.kind, sum(known))


def moment_of(fact: dict[str, Any]) -> datetime:
    """The later of event time and availability (00:30 of its day)."""
    return max(fact["at"], fact["at"].replace(hour=0, minute=30, second=0))


def brute_force(facts: list[dict[str, Any]], tile: Tile) -> dict[tuple[str, datetime], list[int | None]]:
    """Every tile of one kind, in plain Python."""
    groups: dict[tuple[str, datetime], list[dict[str, Any]]] = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: (moment_of(fact), fact["at"], fact["id"])):
        parts = [fact[name] for name in tile.key]
        if None not in parts:
            groups["|".join(map(str, parts)), moment_of(fact).replace(second=0)].append(fact)
    return {where: [combined(measure, group) for measure in tile.measures] for where, group in groups.items()}


def typed(spark: SparkSession, facts: list[dict[str, Any]]) -> DataFrame:
    """The facts as a job reads them, with their moments."""
    schema = "id string, place string, number bigint, level double, delay bigint, at timestamp"
    return with_times(spark.createDataFrame([tuple(fact.values()) for fact in facts], schema), CONTRACT)


def test_tiles_equal_brute_force(spark: SparkSession) -> None:
    facts = random_facts(1500)
    frame = typed(spark, facts)
    rows = build_tiles({"readings": frame}, [CONTRACT], [BY_PLACE, LATEST]).collect()
    found = {(row["tile"], row["key"], row["minute"].astimezone(UTC)): row["values"] for row in rows}
    expected = {
        (tile.name, *where): values for tile in (BY_PLACE, LATEST) for where, values in brute_force(facts, tile).items()
    }
    assert len(rows) == len(expected) > 300
    assert found == expected
    assert all(row["ds"] == f"{row['minute'].astimezone(UTC):%Y-%m-%d}" for row in rows)
    assert any(None in values for values in expected.values())


def test_one_kind_alone_gives_the_same_tiles(spark: SparkSession) -> None:
    facts = random_facts(200)
    frame = typed(spark, facts)
    rows = tile_rows(frame, tile_expressions(CONTRACT, [LATEST])).collect()
    assert {(row["key"], row["minute"].astimezone(UTC)): row["values"] for row in rows} == brute_force(facts, LATEST)


def test_facts_that_lie_together_by_day_are_not_shuffled_again(spark: SparkSession) -> None:
    """On the way to a table by day each source is moved once, before its facts become many tiles."""
    contracts = [CONTRACT, replace(CONTRACT, name="others")]
    kinds = [BY_PLACE, LATEST, replace(LATEST, name="others_latest", source="others")]
    frame = typed(spark, random_facts(20)).repartition(4, tile_day())
    tiles = build_tiles({contract.name: frame for contract in contracts}, contracts, kinds)
    plan = tiles.repartition(4, "ds").sortWithinPartitions("ds")._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange hashpartitioning") == len(contracts), plan
