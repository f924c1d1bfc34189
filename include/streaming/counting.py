"""The fold that counts each fact once: arrivals of a source, in the order of its topic, against what came before.

A pure function of the order of messages: however a topic is cut into batches, the outcomes are the same, so a batch
that is run again after a crash gives the same answer. It knows neither Spark nor Kafka nor what a fact means. Minutes
are whole minutes since 1970 (UTC).

Minutes *close* as a source goes on: by its heartbeats, or, for a source that sends none, with the availability of its
newest fact. A fact for a closed minute is late: it is told and not counted, so a tile that was final stays so.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from include.streaming.messages import Progress, minute_text

Outcome = Literal["counted", "late", "rejected", "duplicate"]
OUTCOMES: tuple[Outcome, ...] = ("counted", "late", "rejected", "duplicate")
#: How long an id is remembered after its minute has closed, to tell a repeat from a late fact. Neither is counted.
REMEMBERED_MINUTES = 2 * 1440
PRUNE_EVERY_MINUTES = 360


class Arrival(msgspec.Struct, frozen=True):
    """One message of a source topic as its contract judged it: a heartbeat, a good fact, or a bad one (``reasons``).

    ``available`` and ``minute`` (of the later of event and availability) are set for good facts, ``fact`` is the typed
    fact as JSON with one spelling per fact; ``record`` is the message as it came.
    """

    source: str
    record: str
    id: str | None = None
    available: int = 0
    minute: int = 0
    fact: str = ""
    reasons: tuple[str, ...] = ()
    heartbeat: int | None = None


class SourceState(msgspec.Struct):
    """What is known of one source: how far it has come, ids by minute and digest, facts of open minutes, counts."""

    since: int | None = None
    heartbeat: int | None = None
    newest_available: int | None = None
    newest_minute: int | None = None
    seen: dict[str, tuple[int, str]] = msgspec.field(default_factory=dict)
    open: dict[int, list[str]] = msgspec.field(default_factory=dict)
    counts: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    pruned: int = 0

    @property
    def closed(self) -> int | None:
        """Minutes before this one are final."""
        return self.heartbeat if self.heartbeat is not None else self.newest_available

    @property
    def border(self) -> int | None:
        """Minutes before this one may be looked at: also the newest one, where no heartbeat says what is complete."""
        if self.heartbeat is not None:
            return self.heartbeat
        return None if self.newest_minute is None else self.newest_minute + 1

    def progress(self, source: str) -> Progress | None:
        """How far the stream has come, or None before its first message."""
        if self.since is None or self.closed is None or self.border is None:
            return None
        return Progress(source, *(minute_text(minute) for minute in (self.since, self.closed, self.border)))


State = dict[str, SourceState]


@dataclass(frozen=True)
class Judged:
    """What became of one arrival; ``reasons`` say why it was rejected or came late."""

    arrival: Arrival
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    conflicting: bool = False


@dataclass
class Counted:
    """What a batch of arrivals did: each one's outcome, and all facts of each minute that has changed, by source."""

    judged: list[Judged] = field(default_factory=list)
    touched: dict[str, dict[int, list[str]]] = field(default_factory=dict)


def count(state: State, arrivals: Iterable[Arrival]) -> Counted:
    """Fold arrivals (of any sources, in topic order within each) into ``state``, in place."""
    result = Counted()
    sources: set[str] = set()
    for arrival in arrivals:
        source = state.setdefault(arrival.source, SourceState())
        sources.add(arrival.source)
        if arrival.heartbeat is not None:
            _advance(source, arrival.heartbeat)
            continue
        judged = _judge(source, arrival)
        source.counts[judged.outcome] += 1
        result.judged.append(judged)
        if judged.outcome == "counted":
            facts = source.open.setdefault(arrival.minute, [])
            facts.append(arrival.fact)
            result.touched.setdefault(arrival.source, {})[arrival.minute] = facts
    for name in sources:
        _forget(state[name])
    return result


def digest(fact: str) -> str:
    """A short identity of a fact's content."""
    return hashlib.blake2b(fact.encode(), digest_size=12).hexdigest()


def _advance(source: SourceState, heartbeat: int) -> None:
    source.since = heartbeat if source.since is None else source.since
    # What has closed stays closed, also where a source begins to send heartbeats in its midst.
    source.heartbeat = heartbeat if source.closed is None else max(heartbeat, source.closed)


def _judge(source: SourceState, arrival: Arrival) -> Judged:
    """Judge one fact and remember it."""
    if arrival.reasons or arrival.id is None:
        return Judged(arrival, "rejected", arrival.reasons)
    known = source.seen.get(arrival.id)
    content = digest(arrival.fact)
    if known is not None and known[0] >= (source.closed or 0) - REMEMBERED_MINUTES:
        if known[1] == content:
            return Judged(arrival, "duplicate")
        why = f"id: another fact with the id {arrival.id!r} came before, with other content"
        return Judged(arrival, "rejected", (why,), conflicting=True)
    source.seen[arrival.id] = (arrival.minute, content)
    if source.closed is not None and arrival.minute < source.closed:
        why = f"minute: {minute_text(arrival.minute)} had closed at {minute_text(source.closed)}"
        return Judged(arrival, "late", (why,))
    _note(source, arrival)
    return Judged(arrival, "counted")


def _note(source: SourceState, arrival: Arrival) -> None:
    source.since = arrival.available if source.since is None else source.since
    source.newest_available = max(arrival.available, source.newest_available or arrival.available)
    source.newest_minute = max(arrival.minute, source.newest_minute or arrival.minute)


def _forget(source: SourceState) -> None:
    """Drop the facts of closed minutes, and ids whose minute closed long ago."""
    closed = source.closed
    if closed is None:
        return
    for minute in [minute for minute in source.open if minute < closed]:
        del source.open[minute]
    oldest = closed - REMEMBERED_MINUTES
    if oldest - source.pruned >= PRUNE_EVERY_MINUTES:
        source.seen = {identity: known for identity, known in source.seen.items() if known[0] >= oldest}
        source.pruned = oldest
