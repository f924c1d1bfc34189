"""Days cut into steps: nothing lost, nothing twice, and no query before the facts that it may look at."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from include.contracts.validator import Valid, validate
from include.use_case import load_use_case
from local_stack.replay.timeline import (
    Fact,
    Query,
    announced_facts,
    cut,
    day_start,
    facts_of,
    queries_of,
    read_outcomes,
    read_span,
)

USE_CASE = load_use_case("flight_delay")
BEGIN, END = datetime(2013, 2, 4, tzinfo=UTC), datetime(2013, 2, 5, tzinfo=UTC)
SECONDS = st.integers(0, 86_399)


def at(seconds: int) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


FACTS = st.lists(SECONDS, max_size=40).map(
    lambda times: [Fact("s", f"f{i}", at(t), {}) for i, t in enumerate(sorted(times))]
)
QUERIES = st.lists(SECONDS, max_size=40).map(
    lambda times: [Query(f"q{i}", at(t), {}) for i, t in enumerate(sorted(times))]
)
LENGTHS = st.integers(1, 400).map(lambda minutes: timedelta(minutes=minutes))


@given(FACTS, QUERIES, LENGTHS)
def test_every_fact_and_query_goes_out_once_and_in_order(
    facts: list[Fact], queries: list[Query], length: timedelta
) -> None:
    steps = list(cut(facts, queries, BEGIN, END, length))
    assert [fact for step in steps for fact in step.facts] == facts
    assert [query for step in steps for query in step.queries] == queries
    assert steps[0].start == BEGIN and steps[-1].end == END
    assert all(one.end == two.start for one, two in pairwise(steps))


@given(FACTS, QUERIES, LENGTHS)
def test_a_query_follows_every_fact_that_became_known_before_its_minute(
    facts: list[Fact], queries: list[Query], length: timedelta
) -> None:
    sent: set[str] = set()
    for step in cut(facts, queries, BEGIN, END, length):
        sent |= {fact.id for fact in step.facts}
        for query in step.queries:
            assert query.minute <= step.end
            assert {fact.id for fact in facts if fact.available < query.minute} <= sent


@given(FACTS, LENGTHS)
def test_what_became_known_before_the_beginning_is_history(facts: list[Fact], length: timedelta) -> None:
    noon = BEGIN + timedelta(hours=12)
    sent = [fact for step in cut(facts, [], noon, END, length) for fact in step.facts]
    assert sent == [fact for fact in facts if fact.available >= noon]


def test_a_real_day_has_its_facts_and_its_subjects() -> None:
    day = date(2013, 2, 4)
    facts, queries = read_span(USE_CASE, day, day)
    assert {fact.available.date() for fact in facts} == {day}
    assert [fact.available for fact in facts] == sorted(fact.available for fact in facts)
    assert {fact.source for fact in facts} == {contract.name for contract in USE_CASE.sources}
    assert {query.at.date() for query in queries} == {day}
    # Most of a day's subjects were announced the day before.
    assert len(queries) > 800
    assert "prediction_time" not in queries[0].subject
    outcomes = read_outcomes(USE_CASE, day, day)
    assert {query.id for query in queries} == set(outcomes)


def test_the_timetable_of_the_first_day_was_announced_before_it() -> None:
    # The batch layer publishes the tiles of this timetable only with the day itself.
    announced = announced_facts(USE_CASE, BEGIN, {})
    assert {fact.source for fact in announced} == {"schedule"}
    assert {fact.available.date() for fact in announced} == {date(2013, 2, 3)}
    _, queries = read_span(USE_CASE, BEGIN.date(), BEGIN.date())
    assert len({fact.id for fact in announced} & {query.id for query in queries}) > 800
    assert all(fact.record["scheduled_departure"] >= "2013-02-04T00:00:00Z" for fact in announced)


def test_what_the_stream_has_seen_is_not_announced_again() -> None:
    assert announced_facts(USE_CASE, BEGIN, {"schedule": BEGIN}) == []
    assert announced_facts(USE_CASE, BEGIN, {"schedule": BEGIN - timedelta(days=1), "weather": BEGIN})


def test_a_measurement_that_no_contract_accepts_is_sent_all_the_same() -> None:
    day = date(2013, 2, 12)
    facts, _ = read_span(USE_CASE, day, day)
    (storm,) = [fact for fact in facts if fact.id == "EWR-20130212T0800Z"]
    assert float(storm.record["wind_speed_mph"]) > 1000
    assert not isinstance(validate(storm.record, USE_CASE.source("weather")), Valid)


def test_records_become_facts_and_queries() -> None:
    record = {
        "id": "UA-1-EWR-20130204T1015Z", "carrier": "UA", "flight": 1, "origin": "EWR", "dest": "IAH", "tailnum": None,
        "distance": 1400, "scheduled_departure": "2013-02-04T10:15:00Z", "scheduled_arrival": "2013-02-04T14:00:00Z",
    }  # fmt: skip
    (fact,) = facts_of(USE_CASE, {"schedule": [record]})
    assert (fact.id, fact.available) == (record["id"], datetime(2013, 2, 3, 12, tzinfo=UTC))
    (query,) = queries_of(USE_CASE, [record])
    assert query.at == datetime(2013, 2, 4, 9, 15, tzinfo=UTC)
    assert query.minute == query.at
    assert "scheduled_arrival" not in query.subject and query.subject["distance"] == 1400
    assert day_start(date(2013, 2, 4)) == BEGIN
