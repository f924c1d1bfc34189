"""The order of a replay: facts, heartbeats, tiles, queries; drills in the middle; nothing asked of tiles that lag."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.contract import Contract
from include.streaming.messages import Progress, encode
from include.target import BINARY
from include.use_case import Quality, UseCase, load_use_case
from local_stack.replay.engine import Drill, Pace, Replay
from local_stack.replay.injection import Injector, Shares
from local_stack.replay.timeline import Fact, Query, cut
from local_stack.replay.topics import Read
from local_stack.replay.watching import Answers, Borders, TilesBehind

SHIPPED = load_use_case("flight_delay")
TWO = (SHIPPED.source("departures"), SHIPPED.source("weather"))


def of_sources(*sources: Contract) -> UseCase:
    """The shipped use case as one of some of its sources: none can be declared so, but replay asks for no more."""
    use_case = replace(SHIPPED, name="test", quality=Quality())
    object.__setattr__(use_case, "sources", sources)
    return use_case


USE_CASE = of_sources(*TWO)
CONTRACTS = {contract.name: contract for contract in USE_CASE.sources}
SOURCES = ("departures", "weather")
BEGIN, END = datetime(2013, 2, 4, tzinfo=UTC), datetime(2013, 2, 4, 6, tzinfo=UTC)


@dataclass
class Stage:
    """Records what goes out; tiles follow a source's heartbeat at once, unless it is stuck."""

    borders: Borders = field(default_factory=lambda: Borders({}))
    stuck: tuple[str, ...] = ()
    log: list[tuple[str, Any]] = field(default_factory=list)

    def send(self, topic: str, key: str, value: bytes) -> None:
        source, message = topic.removeprefix("test."), json.loads(value)
        through = message.get("complete_through")
        self.log.append(("fact" if through is None else "beat", (source, key or through)))
        if through is not None and source not in self.stuck:
            progress = Progress(source, through, through, through)
            self.borders.note(Read(0, 0, progress.message_key, encode(progress), 0))

    def settle(self) -> None:
        self.log.append(("settle", None))

    def ask(self, queries: Sequence[Query]) -> None:
        self.log.extend(("query", query) for query in queries)


def replay_on(stage: Stage, shares: Shares | None = None, **more: Any) -> Replay:
    answers, injector = Answers({}, BINARY), Injector(shares or Shares(), CONTRACTS)
    return Replay(USE_CASE, stage, stage.borders, answers, injector, more.pop("wire", stage), tiles_limit=0.05, **more)


def moment(seconds: int) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


TIMES = st.lists(st.integers(0, 6 * 3600 - 1), max_size=25).map(sorted)
RECORDS = st.sampled_from(SOURCES)


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    return [Fact(draw(RECORDS), f"f{i}", moment(t), {"id": f"f{i}"}) for i, t in enumerate(draw(TIMES))]


QUERIES = TIMES.map(lambda times: [Query(f"q{i}", moment(t), {}) for i, t in enumerate(times)])


@given(facts(), QUERIES, st.integers(1, 200))
def test_a_query_is_asked_after_its_facts_and_after_the_tiles_have_come_to_its_minute(
    known: list[Fact], asked: list[Query], minutes: int
) -> None:
    stage = Stage()
    counts = replay_on(stage).run(cut(known, asked, BEGIN, END, timedelta(minutes=minutes)))
    gone: set[str] = set()
    border = dict.fromkeys(SOURCES, BEGIN)
    for kind, what in stage.log:
        if kind == "fact":
            gone.add(what[1])
        elif kind == "beat":
            through = datetime.fromisoformat(what[1])
            assert {f.id for f in known if f.source == what[0] and f.available < through} <= gone
            border[what[0]] = through
        elif kind == "query":
            assert min(border.values()) >= what.minute
            assert {f.id for f in known if f.available < what.minute} <= gone
    assert (counts.facts, counts.queries) == (len(known), len(asked))
    assert [what.id for kind, what in stage.log if kind == "query"] == [query.id for query in asked]


def test_a_heartbeat_goes_out_only_after_the_facts_before_it_were_taken() -> None:
    stage = Stage()
    replay_on(stage).run(cut([Fact("weather", "w", moment(60), {"id": "w"})], [], BEGIN, END, timedelta(hours=6)))
    kinds = [kind for kind, _ in stage.log]
    assert kinds[kinds.index("fact") :][:4] == ["fact", "settle", "beat", "beat"]
    assert [what for kind, what in stage.log if kind == "beat"][:2] == [
        ("departures", "2013-02-04T00:00:00Z"), ("weather", "2013-02-04T00:00:00Z")
    ]  # fmt: skip


def test_what_was_announced_before_goes_out_first_and_its_source_begins_as_early() -> None:
    stage, schedule = Stage(), SHIPPED.source("schedule")
    announced = [Fact("schedule", "s", BEGIN - timedelta(hours=12), {"id": "s"})]
    replay = replay_on(stage, announced=announced)
    replay.use_case = of_sources(*TWO, schedule)
    replay.injector = Injector(Shares(), {**CONTRACTS, "schedule": schedule})
    replay.begin(BEGIN)
    told = [(kind, what) for kind, what in stage.log if kind != "settle"]
    assert told[:2] == [("beat", ("schedule", "2013-02-03T00:00:00Z")), ("fact", ("schedule", "s"))]
    assert sorted(told[2:]) == [("beat", (s, "2013-02-04T00:00:00Z")) for s in sorted((*SOURCES, "schedule"))]


def test_tiles_that_do_not_follow_stop_the_replay_by_the_source_s_name() -> None:
    stage = Stage(stuck=("weather",))
    with pytest.raises(TilesBehind, match="weather have come nowhere yet, not to 2013-02-04 00:00") as raised:
        replay_on(stage).run(cut([], [Query("q", moment(60), {})], BEGIN, END, timedelta(minutes=15)))
    assert "departures" not in str(raised.value)
    assert not [kind for kind, _ in stage.log if kind == "query"]


def test_real_life_goes_on_when_tiles_do_not_follow() -> None:
    stage = Stage(stuck=("weather",))
    replay_on(stage, tolerant=True).run(cut([], [Query("q", moment(60), {})], BEGIN, END, timedelta(hours=3)))
    assert [what.id for kind, what in stage.log if kind == "query"] == ["q"]


def test_without_a_wire_only_questions_are_asked() -> None:
    stage = Stage()
    known = [Fact("weather", "w", moment(60), {"id": "w"})]
    replay_on(stage, wire=None).run(cut(known, [Query("q", moment(60), {})], BEGIN, END, timedelta(hours=3)))
    assert [kind for kind, _ in stage.log] == ["query"]


def test_a_drill_happens_once_between_the_facts_of_its_step() -> None:
    stage = Stage()
    known = [Fact("weather", f"w{i}", moment(3600 + i), {"id": f"w{i}"}) for i in range(4)]
    drill = Drill(moment(3600), lambda: stage.log.append(("drill", None)))
    replay_on(stage, drills=[drill]).run(cut(known, [], BEGIN, END, timedelta(minutes=30)))
    kinds = [kind for kind, _ in stage.log if kind in ("fact", "drill")]
    assert kinds == ["fact", "fact", "drill", "fact", "fact"]


def test_late_facts_are_sent_at_the_end_if_no_step_is_left() -> None:
    stage = Stage()
    known = [Fact("weather", "w", moment(60), {"id": "w"})]
    replay_on(stage, Shares(late=1.0)).run(cut(known, [], BEGIN, END, timedelta(hours=6)))
    assert [kind for kind, _ in stage.log][-2:] == ["fact", "settle"]


def test_without_a_speed_the_clock_is_not_asked() -> None:
    pace = Pace()
    pace.until(BEGIN)
    pace.until(datetime.max.replace(tzinfo=UTC))


def test_a_speed_bounds_simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("local_stack.replay.engine.time.monotonic", lambda: 100.0)
    monkeypatch.setattr("local_stack.replay.engine.time.sleep", slept.append)
    pace = Pace(600.0)
    pace.until(BEGIN)
    pace.until(BEGIN + timedelta(minutes=15))
    pace.until(BEGIN + timedelta(minutes=60))
    assert slept == [0.0, 1.5, 6.0]
