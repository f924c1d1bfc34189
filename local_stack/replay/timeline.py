"""Days of facts cut into steps of simulated time: which facts, then which queries.

The one rule: the queries of a step look at nothing later than the step's end, and every fact that became known before
that end goes out first. Pure functions; times are aware, UTC. Knows neither Kafka nor clocks.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from include.contracts.contract import Contract
from include.contracts.validator import Valid, validate
from include.declaration import PREDICTION_TIME
from include.use_case import UseCase

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
Records = Mapping[str, Sequence[Mapping[str, Any]]]


class FactRefused(ValueError):
    """A fact of the use case does not satisfy its own contract; the message names both."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a source, and when it became known."""

    source: str
    id: str
    available: datetime
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A subject to ask about, and its default prediction time."""

    id: str
    at: datetime
    subject: Mapping[str, Any]

    @property
    def minute(self) -> datetime:
        """Tiles of this minute and later are of no interest to the answer."""
        return self.at.replace(second=0, microsecond=0)


@dataclass(frozen=True)
class Step:
    """``facts`` became known in [start, end); ``queries`` look at tiles before ``end`` alone."""

    start: datetime
    end: datetime
    facts: tuple[Fact, ...]
    queries: tuple[Query, ...]


def day_start(day: date) -> datetime:
    """Midnight (UTC) at which a day begins."""
    return datetime.combine(day, time(), UTC)


def read_span(use_case: UseCase, first: date, last: date, redated: bool = False) -> tuple[list[Fact], list[Query]]:
    """The use case's facts that became known, and the queries due, on the days ``first`` to ``last``.

    A subject may have been announced up to ``announced_days`` before it is asked about, so queries come from the facts
    of those days too. Raises ``FactRefused``.
    """
    contract = use_case.source(use_case.subject_source)
    announced = first - DAY * contract.announced_days
    records: Records = _module(use_case).facts(announced, last, redated)
    known = facts_of(use_case, records)
    begin, end = day_start(first), day_start(last) + DAY
    queries = queries_of(use_case, records[use_case.subject_source])
    return [f for f in known if begin <= f.available < end], [q for q in queries if begin <= q.at < end]


def announced_facts(
    use_case: UseCase, start: datetime, seen: Mapping[str, datetime], redated: bool = False
) -> list[Fact]:
    """The facts about ``start`` and later that became known before it, of sources that the stream has not ``seen``.

    ``seen`` says per source up to when. The batch layer has such facts (the timetable of a day, published the day
    before), but publishes their tiles with the day that they are about: until then the stream has to have them.
    """
    days = {c.name: c.announced_days for c in use_case.sources if c.announced_days and _unseen(seen, c.name, start)}
    if not days:
        return []
    known, _ = read_span(use_case, start.date() - DAY * max(days.values()), start.date(), redated)
    return [fact for fact in known if _announced(use_case, fact, start, days)]


def _unseen(seen: Mapping[str, datetime], source: str, start: datetime) -> bool:
    return source not in seen or seen[source] < start


def _announced(use_case: UseCase, fact: Fact, start: datetime, days: Mapping[str, int]) -> bool:
    if fact.source not in days or not start - DAY * days[fact.source] <= fact.available < start:
        return False
    judged = validate(fact.record, use_case.source(fact.source))
    return isinstance(judged, Valid) and judged.moment is not None and judged.moment >= start


def read_outcomes(use_case: UseCase, first: date, last: date, redated: bool = False) -> dict[str, int]:
    """Subject id -> what became of it (0 or 1), of the subjects that are asked about on these days."""
    outcomes: dict[str, int] = _module(use_case).outcomes(first, last, redated)
    return outcomes


def _module(use_case: UseCase) -> Any:
    return importlib.import_module(f"include.use_cases.{use_case.name}.replay")


def facts_of(use_case: UseCase, records: Records) -> list[Fact]:
    """All records as facts, in the order of availability; of one moment in the order of the use case's sources."""
    facts = [_fact(contract, record) for contract in use_case.sources for record in records.get(contract.name, ())]
    return sorted(facts, key=lambda fact: fact.available)


def _fact(contract: Contract, record: Mapping[str, Any]) -> Fact:
    judged = validate(record, _without_bounds(contract))
    if not isinstance(judged, Valid) or judged.available_at is None:
        raise FactRefused(f"{contract.name} {record.get(contract.key)}: {judged}")
    return Fact(contract.name, str(judged.values[contract.key]), judged.available_at, record)


def _without_bounds(contract: Contract) -> Contract:
    """The contract without limits on values: a wind of 1,048 mph is sent when it was measured, and the layers judge."""
    return replace(
        contract, fields=tuple(replace(f, minimum=None, maximum=None, allowed=None) for f in contract.fields)
    )


def queries_of(use_case: UseCase, records: Iterable[Mapping[str, Any]]) -> list[Query]:
    """The subjects as clients would send them, in the order of their default prediction times."""
    names = [name for name in use_case.subject.field_names if name != PREDICTION_TIME]
    lead = timedelta(minutes=use_case.prediction_lead_minutes)
    queries = [
        Query(
            str(record[use_case.subject.key]),
            datetime.fromisoformat(record[use_case.subject_time]) - lead,
            {name: record[name] for name in names},
        )
        for record in records
    ]
    return sorted(queries, key=lambda query: query.at)


def cut(
    facts: Sequence[Fact], queries: Sequence[Query], begin: datetime, end: datetime, length: timedelta
) -> Iterator[Step]:
    """The steps from ``begin`` to ``end``; both lists are in the order of time.

    A fact goes into the step in which it became known, a query into the first step whose end is not before the
    query's minute. Facts from before ``begin`` are history and left out.
    """
    known = [fact.available for fact in facts]
    asked = [query.minute for query in queries]
    at, fact, query = begin, bisect_left(known, begin), bisect_left(asked, begin)
    while at < end:
        stop = min(at + length, end)
        next_fact = bisect_left(known, stop)
        next_query = bisect_left(asked, stop + MINUTE)
        yield Step(at, stop, tuple(facts[fact:next_fact]), tuple(queries[query:next_query]))
        at, fact, query = stop, next_fact, next_query
