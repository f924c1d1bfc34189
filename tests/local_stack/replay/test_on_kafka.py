"""A whole replay over a real broker: facts, tiles, queries, answers, books; what gets lost is found by its id.

The streaming job and the predictor are played by a thread of this test, which counts as they do and can be told to
lose something; every message goes through real topics of a use case of this test alone.
"""

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.locations import Topics
from include.use_case import UseCase
from local_stack.replay.books import open_books
from local_stack.replay.injection import Shares
from local_stack.replay.session import Outcome, Plan, Session
from local_stack.replay.timeline import read_outcomes, read_span
from local_stack.replay.topics import Follower, Sender, ends_of, read_topic
from tests.local_stack.replay.conftest import SHIPPED, StandIn

pytestmark = pytest.mark.integration

BEGIN, END = datetime(2013, 2, 4, 12, tzinfo=UTC), datetime(2013, 2, 4, 14, tzinfo=UTC)
DAY = BEGIN.date()


def replay(use_case: UseCase, plan: Plan) -> Outcome:
    facts, queries = read_span(SHIPPED, DAY, DAY)
    session = Session(
        use_case,
        os.environ,
        plan,
        open_books(use_case, os.environ["KAFKA_BOOTSTRAP"]),
        plan.begin,
        [fact for fact in facts if plan.begin <= fact.available < plan.end],
        [query for query in queries if plan.begin <= query.at < plan.end],
        read_outcomes(SHIPPED, DAY, DAY),
    )
    return session.run()


def test_the_books_of_two_disturbed_hours_balance(use_case: UseCase, stand_in: StandIn) -> None:
    outcome = replay(use_case, Plan(BEGIN, END, shares=Shares(0.1, 0.1, 0.1, 3)))
    assert outcome.balances, [book.words() for book in outcome.books]
    books = {book.name: book for book in outcome.books}
    assert books["departures"].parts["counted"] > 50
    assert all(sum(book.parts[part] for book in outcome.books[:-1]) > 0 for part in ("late", "rejected", "duplicate"))
    assert books["queries"].parts["predictions"] == len(outcome.answers) > 50
    assert books["queries"].parts["duplicate"] > 0
    assert outcome.live is not None


def test_hours_that_follow_have_books_of_their_own(use_case: UseCase, stand_in: StandIn) -> None:
    for hour in range(2):
        begin = BEGIN + timedelta(hours=hour)
        outcome = replay(use_case, Plan(begin, begin + timedelta(hours=1)))
        assert outcome.balances, [book.words() for book in outcome.books]
        assert sum(book.came for book in outcome.books[:-1]) == outcome.counts.facts > 50


def test_what_gets_lost_is_named(use_case: UseCase, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_stack.replay.session.ANSWERS_LIMIT_SECONDS", 3.0)
    monkeypatch.setattr("local_stack.replay.session.BOOKS_LIMIT_SECONDS", 1.0)
    facts, queries = read_span(SHIPPED, DAY, DAY)
    fact = next(f for f in facts if f.source == "arrivals" and BEGIN <= f.available < END)
    query = next(q for q in queries if BEGIN <= q.at < END)
    stand_in.loses |= {fact.id, query.id}
    outcome = replay(use_case, Plan(BEGIN, END))
    books = {book.name: book for book in outcome.books}
    assert not outcome.balances
    assert fact.id in books["arrivals"].missing
    assert [name for name in books["queries"].missing if name.startswith(query.id)]


def test_a_topic_is_read_back_and_followed_from_where_one_says(use_case: UseCase) -> None:
    bootstrap, topic = os.environ["KAFKA_BOOTSTRAP"], Topics(use_case.name).queries
    assert read_topic(bootstrap, topic) == []
    sender = Sender(bootstrap)
    for number in range(5):
        sender.send(topic, f"k{number}", b"v")
    sender.settle()
    assert ends_of(bootstrap, [topic]) == {topic: {0: 5}}
    assert [read.key for read in read_topic(bootstrap, topic, {0: 2}, {0: 4})] == ["k2", "k3"]
    found: list[str] = []
    enough = threading.Event()

    def take(read: Any) -> None:
        found.append(read.key)
        if len(found) == 2:
            enough.set()

    with Follower(bootstrap, topic, {0: 3}, take):
        assert enough.wait(30)
    assert found == ["k3", "k4"]
