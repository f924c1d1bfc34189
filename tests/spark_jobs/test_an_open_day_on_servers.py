"""Closed and open days in MySQL against the facts themselves: counted once while open, and after the day has closed."""

import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
from confluent_kafka.cimpl import NewTopic

from include import lake
from include.broadcast import Broadcaster
from include.landing import s3_client
from include.locations import Topics
from include.settings import KafkaSettings
from include.tables import RUNTIME_METRICS
from include.use_cases.flight_delay import feeder, replay
from local_stack.analyst import query_mysql
from tests.kafka_topics import make_topics
from tests.spark_jobs import steps
from tests.spark_jobs.readers import connect, logged_rows, reading
from tests.spark_jobs.workshop import FIRST, LAST, Workshop, feed

pytestmark = pytest.mark.integration

CLOSED, OPEN_DAY = LAST - timedelta(days=1), LAST
SOURCES = [contract.name for contract in steps.BASE.sources]
BORDER = "2013-01-02T20:00:00Z"


@dataclass(frozen=True)
class Live:
    """Two closed days in the lake and the next one's facts on Kafka up to the evening, and one refresh."""

    workshop: Workshop
    name: str
    facts: dict[str, list[dict[str, Any]]]
    run_id: str


@pytest.fixture(scope="module")
def live(workshop: Workshop) -> Iterator[Live]:
    name, topics = workshop.days, Topics(workshop.days)
    kafka = KafkaSettings.from_environment()
    made = [NewTopic(topics.facts(source), 2) for source in SOURCES]
    admin = make_topics(kafka.bootstrap, made)
    feed(name, CLOSED)
    workshop.do(steps.ingest_and_preprocess, name, FIRST, CLOSED, "closed days")
    facts = replay.facts(OPEN_DAY, OPEN_DAY)
    messages = [
        (topics.facts(source), fact["id"], json.dumps(fact).encode()) for source in SOURCES for fact in facts[source]
    ]
    twice = messages[:: len(messages) // 20]
    old = [  # of a closed day: batch has it
        (topics.facts("departures"), fact["id"], json.dumps(fact).encode())
        for fact in replay.facts(CLOSED, CLOSED)["departures"][-5:]
    ]
    again = [  # by their ids facts of the closed day, told once more as if they were of the open one
        (topics.facts("departures"), fact["id"], json.dumps(a_day_later(fact)).encode())
        for fact in replay.facts(CLOSED, CLOSED)["departures"][:5]
    ]
    bad = [(topics.facts("departures"), "x", b'{"id": "x"}'), (topics.facts("departures"), "y", b"gossip")]
    beats = [
        (topics.facts(source), "heartbeat", json.dumps({"complete_through": BORDER}).encode()) for source in SOURCES
    ]
    Broadcaster(kafka).send([*old, *again, *messages, *twice, *bad, *beats])
    lake.merge_rows(name, RUNTIME_METRICS, by_the_minute())
    run_id = f"refresh {uuid.uuid4().hex[:8]}"
    workshop.do(steps.refresh, name, run_id)
    yield Live(workshop, name, facts, run_id)
    admin.delete_topics([topic.topic for topic in made])


def by_the_minute() -> list[dict[str, Any]]:
    """A counter and a histogram's bucket of two processes, over the last minute of a day and the first of the next."""
    rows = []
    for minute in range(4):
        time = datetime(2013, 1, 2, 23, 58, tzinfo=UTC) + timedelta(minutes=minute)
        for instance in ("a", "b"):
            for name in ("predictions_total{}", 'predict_seconds_bucket{le="0.1"}'):
                about = {"metric_id": f"{instance} {name} {time}", "ds": f"{time:%Y-%m-%d}", "run_id": ""}
                rows.append(about | {"time": time, "instance": instance, "name": name, "value": float(minute)})
    return rows


def a_day_later(departure: dict[str, Any]) -> dict[str, Any]:
    moment = datetime.fromisoformat(departure["actual_departure"]) + timedelta(days=1)
    assert moment.date() == OPEN_DAY
    delay = departure["departure_delay"] + 24 * 60
    return {**departure, "actual_departure": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "departure_delay": delay}


def ask(statement: str) -> list[tuple[Any, ...]]:
    return query_mysql(os.environ, statement)


def departed_by_hour(live: Live) -> dict[tuple[str, datetime], int]:
    counts: Counter[tuple[str, datetime]] = Counter()
    for fact in live.facts["departures"]:
        moment = datetime.fromisoformat(fact["actual_departure"]).astimezone(UTC)
        counts[(fact["origin"], moment.replace(minute=0, second=0, tzinfo=None))] += 1
    return dict(counts)


def shown_by_hour(ds: str) -> dict[tuple[str, datetime], int]:
    found = ask(f"SELECT origin, hour, departed FROM hourly_stats_now WHERE ds = '{ds}' AND departed > 0")
    assert len({(origin, hour) for origin, hour, _ in found}) == len(found), "an hour is there once"
    return {(origin, hour): departed for origin, hour, departed in found}


def test_the_open_day_counts_each_fact_once(live: Live) -> None:
    assert shown_by_hour(OPEN_DAY.isoformat()) == departed_by_hour(live)
    for source in SOURCES:
        counted = ask(
            f"SELECT COUNT(*), COUNT(DISTINCT id) FROM events_now WHERE source = '{source}' AND layer = 'speed'"
        )
        assert counted == [(len(live.facts[source]),) * 2]


def test_buckets_of_histograms_are_there_once_a_day_and_counters_each_minute(live: Live) -> None:
    found = ask("SELECT ds, instance, value FROM runtime_metrics WHERE name LIKE '%\\_bucket%' ORDER BY ds, instance")
    assert found == [(ds, name, value) for ds, value in (("2013-01-02", 1.0), ("2013-01-03", 3.0)) for name in "ab"]
    assert ask("SELECT COUNT(*) FROM runtime_metrics WHERE name = 'predictions_total{}'") == [(8,)]


def test_every_row_says_which_layer_it_is_from_and_how_complete(live: Live) -> None:
    layers = ask("SELECT layer, MIN(ds), MAX(complete_through), COUNT(DISTINCT run_id) FROM events_now GROUP BY layer")
    end = datetime(CLOSED.year, CLOSED.month, CLOSED.day) + timedelta(days=1)
    assert sorted(layers) == [
        ("batch", "2012-12-31", end, 1),
        ("speed", OPEN_DAY.isoformat(), datetime(2013, 1, 2, 20), 1),
    ]
    logged = ask(
        f"SELECT layer, MIN(complete_through), MAX(complete_through) FROM refresh_log WHERE run_id = '{live.run_id}' "
        "GROUP BY layer ORDER BY layer"
    )
    assert logged == [("batch", end, end), ("speed", *[datetime(2013, 1, 2, 20)] * 2)]


def test_nobody_sees_a_part_of_a_refresh_and_the_day_that_closes_is_the_same(live: Live) -> None:
    before = shown_by_hour(OPEN_DAY.isoformat())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeder, "USE_CASE", live.name)
        feeder.feed(s3_client(), OPEN_DAY, OPEN_DAY)
    live.workshop.do(steps.ingest_and_preprocess, live.name, OPEN_DAY, OPEN_DAY, "the open day closes")
    with reading(os.environ, 2) as seen:
        live.workshop.do(steps.refresh, live.name, f"{live.run_id} closed")
    assert not seen.failures
    assert seen.torn(logged_rows(os.environ)) == []
    assert seen.count > 50
    assert shown_by_hour(OPEN_DAY.isoformat()) == before
    layers = ask(f"SELECT DISTINCT layer FROM hourly_stats_now WHERE ds = '{OPEN_DAY}'")
    assert layers == [("batch",)]
    assert ask("SELECT COUNT(*) FROM recent_events_open") == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO hourly_stats (ds) VALUES ('2013-01-01')",
        "UPDATE daily_stats SET departed = 0",
        "DELETE FROM recent_events",
        "DROP TABLE recent_events",
        "CREATE TABLE mine (n INT)",
        "CREATE OR REPLACE VIEW events_now AS SELECT 1",
        "RENAME TABLE daily_stats TO other",
        "SELECT * FROM mysql.user",
        "SELECT * FROM hive_metastore.TBLS",
        "SELECT 'x' INTO OUTFILE '/tmp/out.txt'",
    ],
)
def test_an_analyst_can_only_read(live: Live, statement: str) -> None:
    denied = pytest.raises(pymysql.err.MySQLError, match="denied")
    with connect(os.environ) as connection, connection.cursor() as cursor, denied:
        cursor.execute(statement)
