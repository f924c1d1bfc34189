"""The fold that counts each fact once: however a topic is cut, whatever comes twice, late, wrong or out of order."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from include.streaming.counting import OUTCOMES, REMEMBERED_MINUTES, Arrival, Judged, State, count
from include.streaming.messages import minute_of

START = minute_of("2013-02-04T00:00:00Z")


def fact(identity: str, available: int, announced: int = 0, content: str = "") -> Arrival:
    """A good fact that became available at a minute, about an event ``announced`` minutes later."""
    return Arrival(
        "s", f"raw {identity}", identity, available, available + announced, f'{{"id":"{identity}","x":"{content}"}}'
    )


def bad(identity: str | None) -> Arrival:
    return Arrival("s", "raw", identity, reasons=("x: required",))


def heartbeat(minute: int, source: str = "s") -> Arrival:
    return Arrival(source, "", heartbeat=minute)


MINUTES = st.integers(START, START + 30)
FACTS = st.builds(fact, st.sampled_from("abcdefgh"), MINUTES, st.sampled_from([0, 0, 5]), st.sampled_from(["", "y"]))
ARRIVALS = st.lists(FACTS | st.builds(bad, st.sampled_from(["a", None])) | MINUTES.map(heartbeat), max_size=40)


def outcomes(judged: Sequence[Judged]) -> list[str]:
    return [item.outcome for item in judged]


def in_pieces(arrivals: Sequence[Arrival], cuts: set[int]) -> tuple[State, list[Judged], dict[int, list[str]]]:
    """Fold the arrivals in batches; also the newest content of every minute that was ever touched."""
    state: State = {}
    judged: list[Judged] = []
    minutes: dict[int, list[str]] = {}
    borders = [0, *sorted(cut for cut in cuts if cut < len(arrivals)), len(arrivals)]
    for low, high in pairwise(borders):
        counted = count(state, arrivals[low:high])
        judged += counted.judged
        minutes |= {minute: list(facts) for minute, facts in counted.touched.get("s", {}).items()}
    return state, judged, minutes


@given(ARRIVALS, st.sets(st.integers(0, 40)))
def test_how_a_topic_is_cut_changes_nothing(arrivals: list[Arrival], cuts: set[int]) -> None:
    whole, in_parts = in_pieces(arrivals, set()), in_pieces(arrivals, cuts)
    assert outcomes(whole[1]) == outcomes(in_parts[1])
    assert whole[2] == in_parts[2]
    assert [s.progress("s") for s in whole[0].values()] == [s.progress("s") for s in in_parts[0].values()]
    assert [s.counts for s in whole[0].values()] == [s.counts for s in in_parts[0].values()]


@given(ARRIVALS, st.sets(st.integers(0, 40)))
def test_every_fact_is_counted_once_or_told(arrivals: list[Arrival], cuts: set[int]) -> None:
    _, judged, minutes = in_pieces(arrivals, cuts)
    facts = [arrival for arrival in arrivals if arrival.heartbeat is None]
    assert [item.arrival for item in judged] == facts
    counted = [item.arrival for item in judged if item.outcome == "counted"]
    assert len({arrival.id for arrival in counted}) == len(counted)
    in_tiles = Counter(text for texts in minutes.values() for text in texts)
    assert in_tiles == Counter(arrival.fact for arrival in counted)


@given(ARRIVALS)
def test_what_has_closed_stays_as_it_was(arrivals: list[Arrival]) -> None:
    state: State = {}
    final: dict[int, list[str]] = {}
    minutes: dict[int, list[str]] = {}
    for arrival in arrivals:
        counted = count(state, [arrival])
        minutes |= {minute: list(facts) for minute, facts in counted.touched.get("s", {}).items()}
        assert {minute: minutes.get(minute, []) for minute in final} == final
        closed = state["s"].closed
        if closed is not None:
            final |= {minute: minutes.get(minute, []) for minute in range(START, closed)}


def test_a_repeat_is_a_duplicate_and_another_fact_with_the_id_is_told() -> None:
    state: State = {}
    arrivals = [fact("a", START), fact("a", START), fact("a", START, content="other"), bad("b"), fact("b", START + 1)]
    counted = count(state, arrivals)
    assert outcomes(counted.judged) == ["counted", "duplicate", "rejected", "rejected", "counted"]
    assert counted.judged[2].conflicting and "came before" in counted.judged[2].reasons[0]
    assert state["s"].counts == dict(zip(OUTCOMES, (2, 0, 2, 1), strict=True))


def test_without_heartbeats_the_newest_fact_closes_what_lies_before_it() -> None:
    state: State = {}
    arrivals = [
        fact("a", START + 5),
        fact("b", START + 5),
        fact("c", START + 6),
        fact("d", START + 5),
        fact("e", START + 6),
    ]
    counted = count(state, arrivals)
    assert outcomes(counted.judged) == ["counted", "counted", "counted", "late", "counted"]
    progress = state["s"].progress("s")
    assert progress is not None
    assert (minute_of(progress.since), minute_of(progress.closed), minute_of(progress.border)) == (
        START + 5,
        START + 6,
        START + 7,
    )


def test_with_heartbeats_only_they_close() -> None:
    state: State = {}
    arrivals = [
        heartbeat(START),
        fact("a", START + 9),
        fact("b", START + 3),
        heartbeat(START + 10),
        fact("c", START + 9),
    ]
    assert outcomes(count(state, arrivals).judged) == ["counted", "counted", "late"]
    progress = state["s"].progress("s")
    assert progress is not None and minute_of(progress.since) == START
    assert minute_of(progress.closed) == minute_of(progress.border) == START + 10


def test_an_announced_fact_counts_when_its_hour_comes_and_does_not_close_the_way_there() -> None:
    state: State = {}
    counted = count(state, [fact("a", START, announced=600), fact("b", START + 1, announced=60), fact("c", START + 2)])
    assert outcomes(counted.judged) == ["counted", "counted", "counted"]
    progress = state["s"].progress("s")
    assert progress is not None and minute_of(progress.border) == START + 601


def test_sources_do_not_mix() -> None:
    state: State = {}
    count(
        state,
        [heartbeat(START + 50, "other"), fact("a", START), Arrival("other", "", "a", START + 60, START + 60, "{}")],
    )
    assert state["s"].counts["counted"] == state["other"].counts["counted"] == 1


def test_an_id_is_remembered_for_days_and_never_counted_twice() -> None:
    state: State = {}
    count(state, [fact("a", START), heartbeat(START + REMEMBERED_MINUTES)])
    assert outcomes(count(state, [fact("a", START)]).judged) == ["duplicate"]
    count(state, [heartbeat(START + 2 * REMEMBERED_MINUTES)])
    assert outcomes(count(state, [fact("a", START)]).judged) == ["late"]
    count(state, [heartbeat(START + 4 * REMEMBERED_MINUTES)])
    assert not state["s"].seen and not state["s"].open
