"""Plays steps of simulated time: facts, heartbeats, wait for the tiles, then the queries that look at them.

Facts may run ahead of queries and never the other way round, however fast it goes. It knows the order of things and
calls wires, clocks and drills that it is given; it knows neither Kafka nor HTTP.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from include.locations import Topics
from include.streaming.messages import HEARTBEAT_FIELD
from include.use_case import UseCase
from local_stack.replay.injection import Injector, Outgoing
from local_stack.replay.timeline import DAY, Fact, Query, Step
from local_stack.replay.watching import Answers, Borders, PredictorBorders, TilesBehind

#: A streaming job that was killed needs a minute to come back on a busy machine; ten are given.
TILES_LIMIT_SECONDS = 600.0


class Wire(Protocol):
    """Takes messages, and waits until they were taken."""

    def send(self, topic: str, key: str, value: bytes) -> None: ...

    def settle(self) -> None: ...


class Asker(Protocol):
    """Asks for predictions; returns when the queries are on their way (or answered)."""

    def ask(self, queries: Sequence[Query]) -> None: ...


@dataclass
class Drill:
    """Something to do once simulated time reaches a moment, in the middle of that step's facts."""

    at: datetime
    act: Callable[[], None]
    done: bool = False


@dataclass
class Pace:
    """Lets simulated time go at most ``speed`` times as fast as the clock; without a speed it never waits."""

    speed: float | None = None
    _began: tuple[float, datetime] | None = None

    def until(self, moment: datetime) -> None:
        """Wait until the clock allows for simulated time to be ``moment``."""
        if self.speed is None:
            return
        self._began = self._began or (time.monotonic(), moment)
        started, first = self._began
        due = started + (moment - first).total_seconds() / self.speed
        time.sleep(max(due - time.monotonic(), 0.0))


@dataclass
class Counts:
    """What went out so far, and the simulated time."""

    facts: int = 0
    queries: int = 0
    now: datetime | None = None


@dataclass
class Replay:
    """One replay. Without a ``wire`` no facts are sent: only questions are asked."""

    use_case: UseCase
    asker: Asker
    borders: Borders
    answers: Answers
    injector: Injector
    wire: Wire | None
    pace: Pace = field(default_factory=Pace)
    drills: Sequence[Drill] = ()
    report: Callable[[Counts], None] = lambda _counts: None
    tiles_limit: float = TILES_LIMIT_SECONDS
    #: Whether to go on when the tiles do not follow in time (real life does) instead of stopping.
    tolerant: bool = False
    #: What became known before the start about the time after it (see ``timeline.announced_facts``).
    announced: Sequence[Fact] = ()
    #: Waited for as the tiles topic is: simulated time is much faster than the predictor's own few milliseconds.
    predictor: PredictorBorders | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def sources(self) -> list[str]:
        """The sources that have to follow."""
        return [contract.name for contract in self.use_case.sources]

    def run(self, steps: Iterable[Step]) -> Counts:
        """Play all steps; raises ``TilesBehind``, ``MessagesLost``, or what a drill raises."""
        for step in steps:
            if self.counts.now is None:
                self.begin(step.start)
            self.play(step)
        if self.wire is not None:
            self._send(self.injector.rest(), self.wire)
            self.wire.settle()
        return self.counts

    def begin(self, start: datetime) -> None:
        """Tell every source that what came before ``start`` is history, and see that the tiles follow at all."""
        self.counts.now = start
        self.pace.until(start)
        if self.wire is not None:
            self._announce(start, self.wire)
            self._beat(start, self.wire, self.sources)
            self._await_tiles(start)

    def play(self, step: Step) -> None:
        """One step: its facts, a heartbeat per source, the tiles, its queries."""
        self.pace.until(step.end)
        due = [drill for drill in self.drills if not drill.done and drill.at < step.end]
        if self.wire is not None:
            messages = self.injector.facts(step.facts)
            half = len(messages) // 2
            self._send(messages[:half], self.wire)
            self._drill(due)
            self._send(messages[half:], self.wire)
            self._beat(step.end, self.wire, self.sources)
            self._await_tiles(step.end)
        else:
            self._drill(due)
        self.answers.ask((query.id, query.at) for query in step.queries)
        self.asker.ask(step.queries)
        self.counts.queries += len(step.queries)
        self.counts.now = step.end
        self.report(self.counts)

    def _drill(self, due: Sequence[Drill]) -> None:
        for drill in due:
            drill.act()
            drill.done = True

    def _send(self, messages: Sequence[Outgoing], wire: Wire) -> None:
        topics = Topics(self.use_case.name)
        for message in messages:
            wire.send(topics.facts(message.topic), message.key, message.value)
        self.counts.facts += len(messages)

    def _announce(self, start: datetime, wire: Wire) -> None:
        """Send what was announced before ``start``; its sources begin as early as it could become known."""
        for source in dict.fromkeys(fact.source for fact in self.announced):
            self._beat(start - DAY * self.use_case.source(source).announced_days, wire, [source])
        self._send(self.injector.facts(self.announced), wire)

    def _beat(self, moment: datetime, wire: Wire, sources: Iterable[str]) -> None:
        """Say on these sources' topics that all facts before ``moment`` were sent, once they were."""
        wire.settle()
        topics = Topics(self.use_case.name)
        value = json.dumps({HEARTBEAT_FIELD: f"{moment:%Y-%m-%dT%H:%M:%SZ}"}).encode()
        for source in sources:
            wire.send(topics.facts(source), "", value)
        wire.settle()

    def _await_tiles(self, moment: datetime) -> None:
        minute = moment.replace(second=0, microsecond=0)
        try:
            self.borders.wait_for(minute, self.sources, self.tiles_limit, lambda: self.report(self.counts))
            if self.predictor is not None:
                self.predictor.wait_for(minute, self.sources, self.tiles_limit)
        except TilesBehind:
            if not self.tolerant:
                raise
