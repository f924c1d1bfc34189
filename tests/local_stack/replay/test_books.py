"""The arithmetic of the books: they balance when nothing was lost, and name what is missing when something was."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.streaming import messages
from include.streaming.messages import TileUpdate, encode
from include.use_case import load_use_case
from local_stack.faults import StackError
from local_stack.replay.books import (
    Came,
    Told,
    answered_in,
    asked_in,
    borders_of,
    came_in,
    counting_tiles,
    counts_of,
    fact_book,
    http_book,
    parse_labels,
    query_book,
    query_identity,
    rejections_of,
    stream_counts,
)
from local_stack.replay.injection import Injector, Shares
from local_stack.replay.session import Plan, covered_until, facts_from, refuse_seen
from local_stack.replay.timeline import read_span
from local_stack.replay.topics import Read

USE_CASE = load_use_case("flight_delay")
CONTRACTS = {contract.name: contract for contract in USE_CASE.sources}
KINDS = counting_tiles(USE_CASE)
FACTS, QUERIES = read_span(USE_CASE, date(2013, 2, 4), date(2013, 2, 4))
DEPARTURES = [fact for fact in FACTS if fact.source == "departures"][:60]
HOUR = timedelta(hours=1)
TEN = datetime(2013, 2, 4, 10, tzinfo=UTC)


def reads(values: list[bytes], first: int = 0, every_ms: int = 0) -> list[Read]:
    return [Read(0, first + i, "", value, every_ms * i) for i, value in enumerate(values)]


def test_counting_tiles_have_no_nullable_key_and_count() -> None:
    assert {source: tile.name for source, tile in KINDS.items()} == {
        "schedule": "schedule_by_origin",
        "departures": "departures_by_origin",
        "arrivals": "arrivals_by_origin",
        "cancellations": "cancellations_by_origin",
    }
    features = replace(USE_CASE.features, windows=())
    only = replace(USE_CASE, features=features, tiles=tuple(t for t in USE_CASE.tiles if "tailnum" in t.key))
    assert counting_tiles(only) == {}


def departures_sent(shares: Shares) -> tuple[list[bytes], set[str]]:
    """The messages of some departures, and the ids of those that came late."""
    injector = Injector(shares, CONTRACTS)
    sent, late = [], set()
    for start in range(0, len(DEPARTURES), 10):
        step = DEPARTURES[start : start + 10]
        now = injector.facts(step)
        late |= {fact.id for fact in step} - {message.key for message in now}
        sent += [message.value for message in now] + [b'{"complete_through":"2013-02-04T10:00:00Z"}']
    return sent + [message.value for message in injector.rest()], late


def stream_of(sent: list[bytes], late: set[str]) -> tuple[Told, dict[Any, int]]:
    """What a streaming layer that counts right would tell: rejections, and what each tile gained."""
    came = came_in(reads(sent), {}, CONTRACTS["departures"], KINDS["departures"])
    told = Told(Counter(c.text for c in came if c.outcome == "broken"), set(late))
    tiles = [c.tile for c in came if c.outcome == "fresh" and c.tile and c.id not in late]
    return told, dict(Counter(tiles))


@settings(max_examples=30)
@given(st.builds(Shares, st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 99)))
def test_a_book_balances_however_the_facts_were_disturbed(shares: Shares) -> None:
    sent, late = departures_sent(shares)
    told, added = stream_of(sent, late)
    came = came_in(reads(sent), {}, CONTRACTS["departures"], KINDS["departures"])
    book = fact_book("departures", came, told, added, float(sum(added.values())))
    assert book.balances, book.words()
    assert book.came == sum(b"complete_through" not in value for value in sent)
    assert book.parts["late"] == len(late)
    assert book.parts["counted"] + book.parts["late"] == len(DEPARTURES)


def test_a_fact_that_no_tile_counts_is_named() -> None:
    sent, late = departures_sent(Shares())
    told, added = stream_of(sent, late)
    victim = came_in(reads(sent), {}, CONTRACTS["departures"], KINDS["departures"])[7]
    assert victim.tile is not None
    added[victim.tile] -= 1
    came = came_in(reads(sent), {}, CONTRACTS["departures"], KINDS["departures"])
    book = fact_book("departures", came, told, added, float(sum(added.values())))
    assert not book.balances
    assert victim.id in book.missing and f"{len(DEPARTURES)} in ≠ {len(DEPARTURES) - 1} counted" in book.words()


def test_a_fact_counted_twice_does_not_balance() -> None:
    came = [Came("a", "fresh", "", ("t", "k", "m"))]
    assert not fact_book("s", came, Told(), {("t", "k", "m"): 2}, None).balances


def test_a_broken_message_nobody_told_of_is_named() -> None:
    book = fact_book("s", [Came("b", "broken", "{")], Told(), {}, None)
    assert not book.balances and book.missing == ("b",)


def test_rejections_told_again_after_a_crash_count_once() -> None:
    came = [Came("b", "broken", "{"), Came("c", "fresh", "x"), Came("c", "conflicting", "y"), Came("d", "fresh", "z")]
    told = Told(Counter({"{": 3}), {"d"}, Counter({"c": 1}))
    book = fact_book("s", came, told, {("t", "k", "m"): 1}, None)
    assert book.parts == {"counted": 1, "late": 1, "rejected": 1, "conflicting": 1, "duplicate": 0}
    assert book.balances


def test_a_source_without_a_counting_tile_takes_the_job_s_word_and_others_compare_it() -> None:
    came = [Came("a", "fresh", "")]
    assert fact_book("weather", came, Told(), None, 1.0).balances
    assert not fact_book("weather", came, Told(), None, None).balances
    disagreeing = fact_book("s", came, Told(), {("t", "k", "m"): 1}, 2.0)
    assert not disagreeing.balances and "says that it counted 2" in disagreeing.words()


def test_messages_before_the_beginning_are_known_and_not_counted() -> None:
    values = [json.dumps(fact.record).encode() for fact in DEPARTURES[:2]]
    spoiled = json.dumps({**DEPARTURES[0].record, "departure_delay": 77}).encode()
    came = came_in(reads([*values, values[0], spoiled]), {0: 1}, CONTRACTS["departures"], None)
    assert [item.outcome for item in came] == ["fresh", "duplicate", "conflicting"]


def test_equal_content_is_what_the_contract_reads_not_how_it_is_spelled() -> None:
    value = json.dumps(DEPARTURES[0].record).encode()
    other = json.dumps(
        DEPARTURES[0].record | {"departure_delay": str(DEPARTURES[0].record["departure_delay"])}
    ).encode()
    came = came_in(reads([value, other]), {}, CONTRACTS["departures"], None)
    assert [item.outcome for item in came] == ["fresh", "duplicate"]


def test_tiles_count_by_their_last_message() -> None:
    def tile(name: str, minute: str, values: list[int | None]) -> Read:
        update = TileUpdate(name, "EWR", minute, values)
        return Read(0, 0, update.message_key, encode(update), 0)

    minute = "2013-02-04T10:00:00Z"
    progress = messages.Progress("departures", minute, minute, minute)
    found = [
        tile("departures_by_origin", minute, [1, 5, 0, 5]),
        tile("departures_by_origin", minute, [2, 9, 0, 5]),
        tile("departures_by_dest", minute, [7, 0, 0]),
        Read(0, 0, "tile|departures_by_origin|x|y", None, 0),
        Read(0, 0, progress.message_key, encode(progress), 0),
    ]
    assert counts_of(found, KINDS) == {("departures_by_origin", "EWR", minute): 2}
    assert borders_of(found) == {"departures": TEN}


def test_the_job_s_counts_are_read_from_its_metrics() -> None:
    def metric(name: str, value: float) -> Read:
        return Read(0, 0, "", json.dumps({"name": name, "value": value}).encode(), 0)

    found = [
        metric('stream_facts_total{outcome="counted",source="weather"}', 3.0),
        metric('stream_facts_total{outcome="late",source="weather"}', 8.0),
        metric("predict_seconds_count", 8.0),
        metric('stream_facts_total{outcome="counted",source="weather"}', 5.0),
    ]
    assert stream_counts(found) == {"weather": 5.0}
    assert parse_labels("plain") == {}


def test_rejections_are_sorted_by_source_and_kind() -> None:
    told = rejections_of(
        [
            Read(0, 0, "", encode(messages.rejection(i, source, kind, ("id: why",), record, "2013-02-04T10:00:00Z")), 0)
            for i, source, kind, record in (
                ("a", "weather", messages.LATE, "{}"),
                (None, "queries", messages.INVALID, "{"),
                ("c", "weather", messages.CONFLICTING, "{}"),
            )
        ]
    )
    assert told["weather"] == Told(Counter(), {"a"}, Counter({"c": 1}))
    assert told["queries"].broken == Counter({"{": 1})


def query_values(count: int) -> list[bytes]:
    return [json.dumps(query.subject).encode() for query in QUERIES[:count]]


def test_queries_balance_when_each_has_its_answer_or_its_reason() -> None:
    values = [*query_values(3), query_values(1)[0], b"{"]
    asked = asked_in(reads(values), {}, USE_CASE, HOUR)
    assert (asked.came, asked.duplicate) == (5, 1)
    answered = Counter((query.id, query.at) for query in QUERIES[:3])
    stranger = Counter({("somebody else's", TEN): 4})
    book = query_book(asked, answered + stranger, Told(Counter({"{": 2})))
    assert book.parts == {"predictions": 3, "rejected": 1, "duplicate": 1}
    assert book.balances, book.words()


def test_a_query_without_an_answer_and_one_with_two_are_named() -> None:
    asked = asked_in(reads(query_values(3)), {}, USE_CASE, HOUR)
    one, two, three = ((query.id, query.at) for query in QUERIES[:3])
    book = query_book(asked, Counter({one: 2, two: 1}), Told())
    assert not book.balances
    assert len(book.missing) == 1 and three[0] in book.missing[0]
    assert one[0] in book.remark and two[0] not in book.remark


def test_a_repeat_after_the_horizon_is_a_query_of_its_own() -> None:
    asked = asked_in(reads([query_values(1)[0]] * 3, every_ms=2_000_000), {}, USE_CASE, HOUR)
    assert (asked.due.total(), asked.duplicate) == (2, 1)
    before = asked_in(reads([query_values(1)[0]] * 2), {0: 1}, USE_CASE, HOUR)
    assert (before.due.total(), before.duplicate) == (0, 1)


def test_what_has_to_be_rejected_has_no_identity() -> None:
    good = QUERIES[0]
    assert query_identity(good.subject, USE_CASE) == (good.id, good.at)
    late = (good.at + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert query_identity({**good.subject, "prediction_time": late}, USE_CASE) is None
    early = (good.at - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert query_identity({**good.subject, "prediction_time": early}, USE_CASE) == (
        good.id,
        good.at - timedelta(minutes=30),
    )
    assert query_identity({**good.subject, "distance": None}, USE_CASE) is None
    assert query_identity([1], USE_CASE) is None


def test_questions_over_http_balance_against_what_was_logged() -> None:
    asked = [("a", TEN), ("b", TEN)]
    logged = answered_in(
        [
            Read(0, 0, "", json.dumps({"id": i, "prediction_time": "2013-02-04T10:00:00Z", "via": via}).encode(), 0)
            for i, via in (("a", "http"), ("a", "http"), ("b", "kafka"))
        ]
    )
    lacking = http_book(asked, [], logged["http"])
    assert not lacking.balances and lacking.missing == ("b at 2013-02-04T10:00Z",)
    assert http_book(asked, [("b", TEN)], logged["http"]).balances
    assert http_book(asked, [], logged["http"] + logged["kafka"]).balances


def test_a_replay_begins_where_the_layers_knowledge_ends() -> None:
    plan = Plan(TEN, TEN + HOUR)
    assert facts_from({}, None, plan) == TEN
    assert facts_from({}, TEN - 5 * HOUR, plan) == TEN - 5 * HOUR
    assert facts_from({"a": TEN - HOUR, "b": TEN - 2 * HOUR}, TEN - 5 * HOUR, plan) == TEN - 2 * HOUR
    assert facts_from({}, TEN + 5 * HOUR, plan) == TEN
    assert facts_from({}, TEN - HOUR, replace(plan, stream=False)) == TEN
    assert covered_until({}, None) is None


def test_what_the_stream_has_seen_is_not_replayed_again() -> None:
    plan = Plan(TEN, TEN + HOUR)
    refuse_seen({"a": TEN}, plan)
    with pytest.raises(StackError, match="replay from 2013-02-04T10:30 on"):
        refuse_seen({"a": TEN, "b": TEN + HOUR / 2}, plan)
