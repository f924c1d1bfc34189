"""A refresh of MySQL killed (``kill -9``) at each kind of statement that writes there, then run again.

Killed before the swap it leaves what analysts saw before, after it what they see undisturbed; run again it leaves the
same as undisturbed. Two closed days and an open one on Kafka; every refresh to be killed begins after one that kept a
day less. The killed process talks to MySQL through a door that dies with it.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql
import pytest
from confluent_kafka.cimpl import NewTopic

from include.broadcast import Broadcaster
from include.locations import Topics
from include.settings import KafkaSettings, MysqlSettings
from include.use_cases.flight_delay import replay
from tests.kafka_topics import make_topics
from tests.recovery import steps
from tests.recovery.conftest import LAST
from tests.recovery.content import shown
from tests.recovery.door import Door, run_alone
from tests.recovery.mysql_door import door_to_mysql
from tests.spark_jobs.workshop import FIRST, Workshop, feed, spark_process, topics_for

pytestmark = pytest.mark.drill

KEPT, KEPT_BEFORE = 2, 1
WRITES = re.compile(r"^(?:CREATE|DROP|RENAME|INSERT INTO|REPLACE|COMMIT)\b", re.IGNORECASE)
NEXT_TABLE = r"^CREATE TABLE `\w+__next`"
#: What -> (which statements, which of them). Killed just before each, and just after two: after one is before the next.
CASES = {
    "positions table": (r"^CREATE TABLE IF NOT EXISTS refresh_positions", 1),
    "leftovers dropped": (r"^DROP TABLE IF EXISTS `\w+__next`", 1),
    "first table made": (NEXT_TABLE, 1),
    "last table made": (NEXT_TABLE, 15),
    "first rows sent": (r"^INSERT INTO `\w+__next`", 1),
    "first rows": (r"^COMMIT", 1),
    "some rows": (r"^COMMIT", 5),
    "swap": (r"^RENAME TABLE", 1),
    "old tables dropped": (r"^DROP TABLE IF EXISTS `\w+__old`", 1),
    "a view made": (r"^CREATE OR REPLACE", 1),
    "positions noted": (r"^REPLACE INTO refresh_positions", 1),
    "log made": (r"^CREATE TABLE IF NOT EXISTS refresh_log", 1),
    "lines logged": (r"^REPLACE INTO refresh_log", 1),
}
SWAP = list(CASES).index("swap")
KILLS = [(case, False) for case in CASES] + [("swap", True), ("lines logged", True)]
KINDS = re.compile("|".join({pattern for pattern, _ in CASES.values()}))


@dataclass
class Store:
    """One use case's lake and topics, and MySQL refreshed from them."""

    name: str
    workshop: Workshop
    door: Door
    before: dict[str, list[str]]
    after: dict[str, list[str]]

    def refresh(self, run_id: str, kept: int) -> None:
        """In the Spark process, past the door."""
        self.workshop.do(steps.refresh_keeping, self.name, run_id, kept)

    def refresh_alone(self, run_id: str) -> int:
        """In a process of its own, which the door may kill; its exit code."""
        return run_alone(self.door, steps.refresh_keeping, self.name, run_id, KEPT)


def complete() -> dict[str, list[str]]:
    """What analysts see: not what a refresh keeps beside it."""
    return {table: rows for table, rows in shown().items() if not table.endswith(("__next", "__old"))}


def drop_a_view() -> None:
    """So that the next refresh has one to make."""
    settings = MysqlSettings.from_environment()
    connection = pymysql.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP VIEW IF EXISTS events_now")


@pytest.fixture(scope="module")
def store(importable: None) -> Iterator[Store]:
    name = f"test_killed_refresh_{uuid.uuid4().hex[:8]}"
    topics, kafka = Topics(name), KafkaSettings.from_environment()
    facts = replay.facts(LAST + (LAST - FIRST), LAST + (LAST - FIRST))
    admin = make_topics(kafka.bootstrap, [NewTopic(topics.facts(source), 1) for source in facts])
    settings = MysqlSettings.from_environment()
    with (
        topics_for([name]),
        spark_process([name]) as pool,
        door_to_mysql(settings.host, settings.port) as door,
    ):
        feed(name, LAST)
        found = Store(name, Workshop(pool, name, name, name), door, {}, {})
        found.workshop.do(steps.load, name, FIRST, LAST)
        Broadcaster(kafka).send(
            [
                (topics.facts(source), fact["id"], json.dumps(fact).encode())
                for source, rows in facts.items()
                for fact in rows
            ]
        )
        found.refresh("before", KEPT_BEFORE)
        found.before = complete()
        drop_a_view()
        door.counted = WRITES
        door.ready(kill_at=0)
        assert found.refresh_alone("undisturbed") == 0
        found.after = complete()
        yield found
    admin.delete_topics([topics.facts(source) for source in facts])


def test_every_kind_of_write_is_a_case(store: Store) -> None:
    """The first test, before a case counts anew."""
    made = list(store.door.commits)
    assert [write for write in made if not KINDS.search(write)] == []
    counts = {case: sum(bool(re.search(pattern, write)) for write in made) for case, (pattern, _) in CASES.items()}
    assert {case: count for case, count in counts.items() if count < CASES[case][1]} == {}
    assert store.before != store.after


@pytest.mark.parametrize(("case", "after"), KILLS, ids=[f"{case}{', made' * after}" for case, after in KILLS])
def test_a_killed_refresh_shows_one_refresh_and_run_again_the_new_one(store: Store, case: str, after: bool) -> None:
    pattern, number = CASES[case]
    store.refresh("before", KEPT_BEFORE)
    assert complete() == store.before
    drop_a_view()
    store.door.counted = re.compile(pattern)
    store.door.ready(kill_at=number, after=after)
    assert store.refresh_alone("killed") == -9
    swapped = list(CASES).index(case) + after > SWAP
    assert complete() == (store.after if swapped else store.before)
    store.refresh("again", KEPT)
    assert complete() == store.after
