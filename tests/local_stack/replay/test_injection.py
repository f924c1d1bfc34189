"""Disturbances: the shares that were asked for, the same for the same seed, and nothing lost by them."""

import json
from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.validator import Valid, validate
from include.use_case import load_use_case
from local_stack.replay.injection import BROKEN, Injector, Outgoing, Shares, encoded
from local_stack.replay.timeline import Fact, Query, read_span

USE_CASE = load_use_case("flight_delay")
CONTRACTS = {contract.name: contract for contract in USE_CASE.sources}
FACTS, QUERIES = read_span(USE_CASE, date(2013, 2, 4), date(2013, 2, 4))
SHARES = st.builds(Shares, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))


def sent(shares: Shares, facts: list[Fact], size: int = 100) -> list[list[Outgoing]]:
    injector = Injector(shares, CONTRACTS)
    steps = [injector.facts(facts[i : i + size]) for i in range(0, len(facts), size)]
    return [*steps, injector.rest()]


@given(SHARES)
def test_every_fact_is_sent_once_and_at_most_once_more(shares: Shares) -> None:
    facts = FACTS[:300]
    messages = [message for step in sent(shares, facts, 50) for message in step]
    whole = Counter((m.topic, m.key) for m in messages if BROKEN not in m.key)
    assert set(whole) == {(fact.source, fact.id) for fact in facts}
    assert set(whole.values()) <= {1, 2}
    assert {m.value for m in messages if BROKEN not in m.key} == {encoded(fact.record) for fact in facts}


def test_without_shares_nothing_is_disturbed() -> None:
    assert [m.key for step in sent(Shares(), FACTS) for m in step] == [fact.id for fact in FACTS]


def test_the_same_seed_disturbs_the_same_facts_however_they_are_cut() -> None:
    shares = Shares(0.1, 0.1, 0.1, 7)
    one, other = (Counter((m.topic, m.key, m.value) for step in sent(shares, FACTS, n) for m in step) for n in (10, 99))
    assert one == other
    again = Counter((m.topic, m.key, m.value) for step in sent(Shares(0.1, 0.1, 0.1, 8), FACTS) for m in step)
    assert one != again


def test_shares_are_about_what_was_asked_for() -> None:
    messages = [m for step in sent(Shares(0.1, 0.05, 0.02), FACTS) for m in step]
    broken = sum(BROKEN in m.key for m in messages)
    twice = sum(n > 1 for n in Counter((m.topic, m.key) for m in messages if BROKEN not in m.key).values())
    assert 0.07 < twice / len(FACTS) < 0.13
    assert 0.03 < broken / len(FACTS) < 0.07


def test_late_facts_come_a_step_later() -> None:
    steps = sent(Shares(late=1.0), FACTS[:20], 10)
    assert [[m.key for m in step] for step in steps] == [
        [], [fact.id for fact in FACTS[:10]], [fact.id for fact in FACTS[10:20]]
    ]  # fmt: skip


@pytest.mark.parametrize("source", CONTRACTS)
def test_no_contract_accepts_a_broken_message(source: str) -> None:
    facts = [fact for fact in FACTS if fact.source == source]
    messages = [m for step in sent(Shares(bad=1.0), facts) for m in step if BROKEN in m.key]
    assert len(messages) == len(facts)
    assert not any(accepted(m.value, source) for m in messages)


def accepted(value: bytes, source: str) -> bool:
    try:
        record = json.loads(value)
    except ValueError:
        return False
    return isinstance(validate(record, CONTRACTS[source]), Valid)


def test_queries_are_disturbed_too() -> None:
    messages = Injector(Shares(duplicates=1.0, bad=1.0), CONTRACTS).queries("q", USE_CASE.subject, QUERIES[:10])
    assert [BROKEN in m.key for m in messages[:3]] == [False, False, True]
    assert messages[0] == messages[1]
    assert {m.key for m in messages if BROKEN not in m.key} == {query.id for query in QUERIES[:10]}
    plain = Injector(Shares(late=1.0), CONTRACTS).queries("q", USE_CASE.subject, [Query("a", QUERIES[0].at, {})])
    assert [m.key for m in plain] == ["a"]
