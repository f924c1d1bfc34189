"""Streamed tiles are batch's tiles: the same expression, whatever way the facts came in. No servers."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from include.contracts.columns import judged
from include.spark_jobs.count_facts import TileBuilder, arrivals_in_order, arrivals_of, changed_tiles, rejections
from include.streaming.counting import State, count
from include.streaming.messages import CONFLICTING, INVALID, LATE, PROBLEM_TYPE, minute_of, minute_text
from include.tiles.build import build_tiles
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
START = datetime(2013, 2, 4, 10, tzinfo=UTC)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def departure(number: int, minute: int, **changes: Any) -> dict[str, Any]:
    values = {
        "id": f"f{number}",
        "carrier": random.Random(number).choice(["UA", "B6"]),
        "flight": number + 1,
        "origin": random.Random(number).choice(["EWR", "JFK"]),
        "dest": "IAH",
        "tailnum": f"N{number % 3}" if number % 4 else None,
        "scheduled_departure": text(START),
        "actual_departure": text(START + timedelta(minutes=minute, seconds=number % 60)),
        "departure_delay": number % 40 - 5,
    }
    return values | changes


def observation(number: int, hour: int) -> dict[str, Any]:
    return {
        "id": f"w{number}",
        "origin": "EWR",
        "observed_at": text(START + timedelta(hours=hour)),
        "humidity": 50.05 + number,
    }


def collected(spark: SparkSession, source: str, values: list[Any]) -> list[Any]:
    """A topic's messages (dicts, or texts as they are) as the streaming query's rows."""
    texts = [value if isinstance(value, str | None) else json.dumps(value) for value in values]
    rows = spark.createDataFrame([(t, 0, n) for n, t in enumerate(texts)], "value string, partition int, offset bigint")
    return arrivals_of(rows, USE_CASE.source(source)).collect()


def test_a_message_becomes_an_arrival(spark: SparkSession) -> None:
    values = [
        departure(1, 3),
        {"complete_through": "2013-02-04T10:07:00Z"},
        "nope",
        {**departure(2, 3), "flight": "x"},
        None,
    ]
    good, heartbeat, nothing, wrong, empty = arrivals_in_order(collected(spark, "departures", values))
    assert (good.id, minute_text(good.minute), good.available) == ("f1", "2013-02-04T10:03:00Z", good.minute)
    assert heartbeat.heartbeat == minute_of("2013-02-04T10:07:00Z")
    assert nothing.reasons == ("message: is not a JSON object",) == empty.reasons and nothing.record == "nope"
    assert wrong.reasons == ("flight: 'x' is not an integer",) and wrong.id == "f2"
    reversed_fields = dict(reversed(departure(1, 3).items()))
    assert arrivals_in_order(collected(spark, "departures", [reversed_fields]))[0].fact == good.fact


def test_streamed_tiles_equal_batch_tiles(spark: SparkSession) -> None:
    shuffled = random.Random(3)
    departures = [departure(n, minute) for n, minute in enumerate(shuffled.choices(range(12), k=60))]
    weather = [observation(n, n % 3) for n in range(6)]
    sent = [("departures", d) for d in [*departures, *departures[::7]]] + [("weather", w) for w in weather]
    shuffled.shuffle(sent)
    builders = {c.name: TileBuilder.of(c, USE_CASE.tiles) for c in USE_CASE.sources}
    state: State = {}
    for source in ("departures", "weather"):  # nothing closes: every order counts
        count(state, arrivals_in_order(collected(spark, source, [{"complete_through": "2013-01-01T00:00:00Z"}])))
    streamed = {}
    for low in range(0, len(sent), 25):
        batch = sent[low : low + 25]
        rows = [
            r for s in ("departures", "weather") for r in collected(spark, s, [v for name, v in batch if name == s])
        ]
        counted = count(state, arrivals_in_order(rows))
        for tile in changed_tiles(spark, USE_CASE, builders, counted.touched):
            streamed[tile.tile, tile.key, tile.minute] = tile.values
    assert streamed == batch_tiles(spark, {"departures": departures, "weather": weather})
    assert any(None in values for values in streamed.values())


def batch_tiles(spark: SparkSession, facts: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str, str], list[Any]]:
    frames = {}
    for source, values in facts.items():
        contract = USE_CASE.source(source)
        schema = ", ".join(f"`{name}` string" for name in contract.field_names)
        rows = [tuple(None if v.get(n) is None else str(v[n]) for n in contract.field_names) for v in values]
        frames[source] = judged(spark.createDataFrame(rows, schema), contract)
    tiles = build_tiles(frames, USE_CASE.sources, USE_CASE.tiles)
    minute = F.date_format("minute", "yyyy-MM-dd'T'HH:mm:ss'Z'").alias("minute")
    return {
        (r["tile"], r["key"], r["minute"]): r["values"] for r in tiles.select("tile", "key", minute, "values").collect()
    }


def test_what_was_not_counted_is_told(spark: SparkSession) -> None:
    values = [departure(1, 5), {"complete_through": text(START + timedelta(minutes=8))}, departure(2, 6)]
    values += [departure(1, 5, departure_delay=77), {"id": "f9"}, departure(1, 5)]
    counted = count({}, arrivals_in_order(collected(spark, "departures", values)))
    told = list(rejections(counted, "2013-02-05T00:00:00.000Z"))
    assert [(r.id, r.type.removeprefix(PROBLEM_TYPE)) for r in told] == [
        ("f2", LATE),
        ("f1", CONFLICTING),
        ("f9", INVALID),
    ]
    assert {error.field for error in told[2].errors} >= {"carrier", "origin", "actual_departure"}
    assert json.loads(told[0].record)["id"] == "f2" and json.loads(told[2].record) == {"id": "f9"}
