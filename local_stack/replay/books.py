"""The books of a replay: what went into each topic and where it went, counted from the topics themselves.

For every source facts in = counted + late + rejected + conflicting + duplicate; for queries, in = predictions +
rejected + duplicate. Nothing here comes from the layer that is judged but what it has published: messages are read
back from the offsets where the replay began and judged anew by their contracts. Pure but for ``open_books`` and
``close_books``. The streaming layer may tell a rejection twice (it delivers at least once); it is counted once.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from include.contracts.contract import Contract
from include.contracts.validator import Valid, Value, text_of, validate
from include.declaration import PREDICTION_TIME
from include.locations import Topics
from include.streaming.messages import (
    CONFLICTING,
    HEARTBEAT_FIELD,
    INVALID,
    LATE,
    PROBLEM_TYPE,
    QUERIES,
    RECORD_CHARACTERS,
    TileUpdate,
    decode_tiles_message,
)
from include.tiles.spec import Tile
from include.use_case import UseCase
from local_stack.replay.topics import Offsets, Read, ends_of, read_topic
from local_stack.replay.watching import Identity, progress_of

VIA_HTTP = f"{QUERIES} (http)"
SHOWN = 20
TileKey = tuple[str, str, str]
"""Tile, key and minute."""


@dataclass(frozen=True)
class Book:
    """One line: ``came`` in, and where it went by outcome. ``missing`` names what is in no outcome."""

    name: str
    came: int
    parts: Mapping[str, int]
    missing: tuple[str, ...] = ()
    #: What other counts say that differ, in words; empty when all agree.
    remark: str = ""

    @property
    def balances(self) -> bool:
        """Whether all that came in went somewhere, once."""
        return self.came == sum(self.parts.values()) and not self.missing and not self.remark

    def words(self) -> str:
        """The line for people, with the ids that are missing when it does not balance."""
        parts = " + ".join(f"{value} {name}" for name, value in self.parts.items())
        sign = "=" if self.came == sum(self.parts.values()) else "≠"
        lacking = f"; missing: {', '.join(self.missing[:SHOWN])}" if self.missing else ""
        more = f" and {len(self.missing) - SHOWN} more" if len(self.missing) > SHOWN else ""
        return f"{self.name}: {self.came} in {sign} {parts}{lacking}{more}" + (f"; {self.remark}" * bool(self.remark))


@dataclass(frozen=True)
class Opening:
    """Where the books begin: each topic's end, how far the tiles were, and what was counted until then."""

    offsets: Mapping[str, Offsets]
    borders: Mapping[str, datetime]
    tiles: Mapping[TileKey, int]
    metrics: Mapping[str, float]


def open_books(use_case: UseCase, bootstrap: str) -> Opening:
    """Look at the topics before anything is sent."""
    topics = Topics(use_case.name)
    sources = [topics.facts(contract.name) for contract in use_case.sources]
    read = [topics.queries, topics.predictions, topics.rejected, topics.tiles, topics.metrics]
    offsets = ends_of(bootstrap, [*sources, *read])
    tiles = read_topic(bootstrap, topics.tiles, end=offsets[topics.tiles])
    metrics = read_topic(bootstrap, topics.metrics, end=offsets[topics.metrics])
    return Opening(offsets, borders_of(tiles), counts_of(tiles, counting_tiles(use_case)), stream_counts(metrics))


def borders_now(use_case: UseCase, bootstrap: str) -> dict[str, datetime]:
    """Source -> how far its tiles have come, without opening any book."""
    return borders_of(read_topic(bootstrap, Topics(use_case.name).tiles))


def borders_of(tiles: Iterable[Read]) -> dict[str, datetime]:
    """Source -> how far its tiles have come, from the messages of the tiles topic in order."""
    reports = (progress_of(read) for read in tiles)
    return {report.source: datetime.fromisoformat(report.border) for report in reports if report is not None}


def counting_tiles(use_case: UseCase) -> dict[str, Tile]:
    """Source -> the kind of tile that counts each of its facts once, for those sources that have one."""
    found: dict[str, Tile] = {}
    for tile in use_case.tiles:
        contract = use_case.source(tile.source)
        complete = not any(contract.field(name).nullable for name in tile.key)
        if complete and any(measure.kind == "count" for measure in tile.measures):
            found.setdefault(tile.source, tile)
    return found


def counts_of(reads: Iterable[Read], tiles: Mapping[str, Tile]) -> dict[TileKey, int]:
    """How many facts each tile of the counting kinds holds, by the last message about it."""
    place = {t.name: [measure.kind for measure in t.measures].index("count") for t in tiles.values()}
    counts: dict[TileKey, int] = {}
    for read in reads:
        _, _, rest = read.key.partition("tile|")
        if rest.partition("|")[0] in place and read.value is not None:
            update = _tile_update(read.value)
            if update is not None:
                counts[update.tile, update.key, update.minute] = update.values[place[update.tile]] or 0
    return counts


def _tile_update(value: bytes) -> TileUpdate | None:
    try:
        message = decode_tiles_message(value)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, TileUpdate) else None


def stream_counts(reads: Iterable[Read]) -> dict[str, float]:
    """Source -> facts that the streaming job says it has counted so far, from the metrics topic in order."""
    counts: dict[str, float] = {}
    for read in reads:
        if read.value is not None and b"stream_facts_total" in read.value:
            message = json.loads(read.value)
            labels = parse_labels(message["name"])
            if labels.get("outcome") == "counted" and "source" in labels:
                counts[labels["source"]] = float(message["value"])
    return counts


def parse_labels(name: str) -> dict[str, str]:
    """The labels of a metric's name, ``total{outcome="counted",source="x"}``."""
    inside = name.partition("{")[2].rstrip("}")
    pairs = (part.partition("=") for part in inside.split(",") if "=" in part)
    return {label: value.strip('"') for label, _, value in pairs}


@dataclass
class Told:
    """The rejections of one source: of broken messages by their text, of the rest by id."""

    broken: Counter[str] = field(default_factory=Counter)
    late: set[str] = field(default_factory=set)
    conflicting: Counter[str] = field(default_factory=Counter)


def rejections_of(reads: Iterable[Read]) -> dict[str, Told]:
    """Source (or ``queries``) -> what was rejected, from the rejected topic."""
    told: dict[str, Told] = defaultdict(Told)
    for read in reads:
        message = json.loads(read.value or b"{}")
        kind, source = str(message.get("type", "")).removeprefix(PROBLEM_TYPE), told[str(message.get("source"))]
        if kind == LATE:
            source.late.add(str(message["id"]))
        elif kind == CONFLICTING:
            source.conflicting[str(message["id"])] += 1
        elif kind == INVALID:
            source.broken[str(message["record"])] += 1
    return told


@dataclass(frozen=True)
class Came:
    """One message of a source in the span of the books; ``tile`` says where a good fact has to be counted."""

    id: str
    outcome: str
    text: str
    tile: TileKey | None = None


def came_in(reads: Iterable[Read], begin: Offsets, contract: Contract, tile: Tile | None) -> list[Came]:
    """Judge every message of a source's topic anew, in order; returns those from ``begin`` on, without heartbeats.

    ``outcome`` is ``fresh`` (the first of its id), ``duplicate`` (came before, equal), ``conflicting`` (came before,
    other content) or ``broken`` (its contract rejects it).
    """
    seen: dict[str, Mapping[str, Value]] = {}
    found = []
    for read in reads:
        record, text = _parsed(read.value)
        if isinstance(record, dict) and record.get(HEARTBEAT_FIELD) is not None:
            continue
        judged = validate(record, contract) if isinstance(record, dict) else []
        came = _classified(judged, contract, tile, seen, text)
        if read.offset >= begin.get(read.partition, 0):
            found.append(came or Came(read.key, "broken", text[:RECORD_CHARACTERS]))
    return found


def _parsed(value: bytes | None) -> tuple[Any, str]:
    text = (value or b"").decode("utf-8", "replace")
    try:
        return json.loads(text), text
    except ValueError:
        return None, text


def _classified(
    judged: Valid | list[str],
    contract: Contract,
    tile: Tile | None,
    seen: dict[str, Mapping[str, Value]],
    text: str,
) -> Came | None:
    """What a good fact is, given those before it; None for a broken one."""
    if not isinstance(judged, Valid):
        return None
    identity = str(judged.values[contract.key])
    if identity in seen:
        return Came(identity, "duplicate" if seen[identity] == judged.values else "conflicting", text)
    seen[identity] = judged.values
    return Came(identity, "fresh", text, None if tile is None else _place(tile, judged))


def _place(tile: Tile, judged: Valid) -> TileKey:
    key = "|".join(text_of(judged.values[name]) or "" for name in tile.key)
    minute = judged.moment.replace(second=0, microsecond=0) if judged.moment else None
    return tile.name, key, f"{minute:%Y-%m-%dT%H:%M:%SZ}"


def fact_book(
    source: str, came: Sequence[Came], told: Told, added: Mapping[TileKey, int] | None, metric: float | None
) -> Book:
    """The book of one source. ``added`` is what each tile gained, ``metric`` what the streaming job says it counted.

    Without a counting tile (``added`` is None) the metric alone says what was counted.
    """
    broken = Counter(item.text for item in came if item.outcome == "broken")
    texts = Counter(item.id for item in came)
    late = {item.id for item in came if item.id in told.late}
    conflicting = sum(min(count, texts[identity]) for identity, count in told.conflicting.items())
    counted = int(metric or 0) if added is None else sum(added.values())
    parts = {
        "counted": counted,
        "late": len(late),
        "rejected": (told.broken & broken).total(),
        "conflicting": conflicting,
        "duplicate": sum(item.outcome == "duplicate" for item in came),
    }
    missing = [item.id for item in came if item.outcome == "broken" and item.text not in told.broken]
    if added is not None:
        missing += _not_in_tiles(came, late, added)
    agree = added is None or metric is None or int(metric) == counted
    remark = "" if agree else f"the streaming job says that it counted {metric:.0f}"
    return Book(source, len(came), parts, tuple(missing), remark)


def _not_in_tiles(came: Iterable[Came], late: set[str], added: Mapping[TileKey, int]) -> list[str]:
    """The facts of every tile that gained fewer than had to be counted in it."""
    expected: dict[TileKey, list[str]] = defaultdict(list)
    for item in came:
        if item.outcome == "fresh" and item.tile is not None and item.id not in late:
            expected[item.tile].append(item.id)
    return [identity for tile, ids in expected.items() if added.get(tile, 0) < len(ids) for identity in ids]


@dataclass(frozen=True)
class Asked:
    """The queries that came in: good ones by identity, once for each that had to be answered, and the others."""

    due: Counter[Identity]
    duplicate: int
    broken: Counter[str]

    @property
    def came(self) -> int:
        """All of them."""
        return self.due.total() + self.duplicate + self.broken.total()


def asked_in(reads: Iterable[Read], begin: Offsets, use_case: UseCase, horizon: timedelta) -> Asked:
    """Judge every message of the queries topic anew. A repeat within ``horizon`` of the answered one is a duplicate."""
    answered: dict[Identity, int] = {}
    due: Counter[Identity] = Counter()
    broken: Counter[str] = Counter()
    duplicate = 0
    for read in reads:
        record, text = _parsed(read.value)
        identity = query_identity(record, use_case)
        inside = read.offset >= begin.get(read.partition, 0)
        if identity is None:
            broken[text[:RECORD_CHARACTERS]] += inside
        elif identity in answered and read.time - answered[identity] <= horizon.total_seconds() * 1000:
            duplicate += inside
        else:
            answered[identity] = read.time
            due[identity] += inside
    return Asked(+due, duplicate, +broken)


def query_identity(record: object, use_case: UseCase) -> Identity | None:
    """Id and resolved prediction time of a query, or None if it has to be rejected."""
    judged = validate(record, use_case.subject) if isinstance(record, dict) else []
    if not isinstance(judged, Valid):
        return None
    happens, wanted = judged.values[use_case.subject_time], judged.values.get(PREDICTION_TIME)
    assert isinstance(happens, datetime)  # the contract requires it
    at = wanted if isinstance(wanted, datetime) else happens - timedelta(minutes=use_case.prediction_lead_minutes)
    if happens - at < timedelta(minutes=use_case.minimum_lead_minutes):
        return None
    return str(judged.values[use_case.subject.key]), at


def answered_in(reads: Iterable[Read]) -> dict[str, Counter[Identity]]:
    """``via`` -> how often each identity was answered, from the predictions topic."""
    found: dict[str, Counter[Identity]] = {"kafka": Counter(), "http": Counter()}
    for read in reads:
        message = json.loads(read.value or b"{}")
        at = datetime.fromisoformat(message["prediction_time"])
        found.setdefault(message["via"], Counter())[message["id"], at] += 1
    return found


def query_book(asked: Asked, answered: Counter[Identity], told: Told) -> Book:
    """The book of the queries topic; answers to what was asked before the books began do not count."""
    known = Counter({identity: count for identity, count in answered.items() if identity in asked.due})
    rejected = told.broken & asked.broken
    parts = {"predictions": known.total(), "rejected": rejected.total(), "duplicate": asked.duplicate}
    lacking = [f"{i} at {at:%Y-%m-%dT%H:%MZ}" for i, at in (asked.due - known)]
    lacking += [text[:80] for text in (asked.broken - rejected)]
    twice = sorted(identity for identity, _ in (known - asked.due))
    remark = f"{len(twice)} answered more than once: {', '.join(twice[:SHOWN])}" if twice else ""
    return Book(QUERIES, asked.came, parts, tuple(lacking), remark)


def http_book(asked: Iterable[Identity], refused: Iterable[Identity], logged: Counter[Identity]) -> Book:
    """The book of what was asked over HTTP: every question is logged on the predictions topic, or was refused.

    A request that was made again after its answer got lost is logged twice; it counts once.
    """
    identities, rejected = set(asked), set(refused)
    parts = {"predictions": len(identities & logged.keys()), "rejected": len(rejected)}
    lacking = [f"{i} at {at:%Y-%m-%dT%H:%MZ}" for i, at in sorted(identities - rejected - logged.keys())]
    return Book(VIA_HTTP, len(identities), parts, tuple(lacking))


def fact_books(use_case: UseCase, bootstrap: str, opening: Opening) -> list[Book]:
    """Read the topics back and count every source."""
    topics, kinds = Topics(use_case.name), counting_tiles(use_case)
    told = _told(topics, bootstrap, opening)
    tiles = counts_of(read_topic(bootstrap, topics.tiles, opening.offsets[topics.tiles]), kinds)
    said = stream_counts(read_topic(bootstrap, topics.metrics, opening.offsets[topics.metrics]))
    books = []
    for contract in use_case.sources:
        name, topic = contract.name, topics.facts(contract.name)
        came = came_in(read_topic(bootstrap, topic), opening.offsets[topic], contract, kinds.get(name))
        books.append(fact_book(name, came, told[name], _added(name, kinds, tiles, opening), _gain(name, said, opening)))
    return books


def _told(topics: Topics, bootstrap: str, opening: Opening) -> dict[str, Told]:
    return rejections_of(read_topic(bootstrap, topics.rejected, opening.offsets[topics.rejected]))


def _added(
    source: str, kinds: Mapping[str, Tile], tiles: Mapping[TileKey, int], opening: Opening
) -> dict[TileKey, int] | None:
    if source not in kinds:
        return None
    name = kinds[source].name
    return {key: value - opening.tiles.get(key, 0) for key, value in tiles.items() if key[0] == name}


def _gain(source: str, said: Mapping[str, float], opening: Opening) -> float | None:
    """What the job's own count has gained; it tells a count only when that has changed."""
    before = opening.metrics.get(source, 0.0)
    return said[source] - before if source in said else (0.0 if source in opening.metrics else None)


def queries_book(use_case: UseCase, bootstrap: str, opening: Opening, horizon: timedelta) -> Book:
    """Read the topics back and count the queries that came through Kafka."""
    topics = Topics(use_case.name)
    asked = asked_in(read_topic(bootstrap, topics.queries), opening.offsets[topics.queries], use_case, horizon)
    answers = answered_in(read_topic(bootstrap, topics.predictions, opening.offsets[topics.predictions]))
    return query_book(asked, answers["kafka"], _told(topics, bootstrap, opening)[QUERIES])


def http_queries_book(
    use_case: UseCase, bootstrap: str, opening: Opening, asked: Iterable[Identity], refused: Iterable[Identity]
) -> Book:
    """Read the predictions topic back for what was asked over HTTP."""
    topic = Topics(use_case.name).predictions
    return http_book(asked, refused, answered_in(read_topic(bootstrap, topic, opening.offsets[topic]))["http"])
