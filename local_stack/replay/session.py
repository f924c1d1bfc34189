"""One replay on a running stack, from its start to its closed books: wires and threads put together.

It decides where facts have to begin: where the batch layer's days and the stream's tiles end, so that no window has a
hole. It knows no domain; times are aware, UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import httpx

from include.book import PREPROCESS, closed_so_far
from include.locations import Topics
from include.target import Metric
from include.use_case import UseCase
from local_stack.faults import StackError
from local_stack.replay import books
from local_stack.replay.asking import HttpAsker, KafkaAsker
from local_stack.replay.books import Book, Opening
from local_stack.replay.engine import Counts, Drill, Pace, Replay
from local_stack.replay.injection import Injector, Shares
from local_stack.replay.progress import ProgressLine
from local_stack.replay.timeline import DAY, Fact, Query, announced_facts, cut, day_start, read_outcomes, read_span
from local_stack.replay.topics import Follower, Sender
from local_stack.replay.watching import Answers, Borders, Identity, PredictorBorders

ANSWERS_LIMIT_SECONDS = 300.0
BOOKS_LIMIT_SECONDS = 180.0
BOOKS_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """What to replay, and how. ``stream`` False: no facts, only questions."""

    begin: datetime
    end: datetime
    step: timedelta = timedelta(minutes=15)
    speed: float | None = None
    over_http: bool = False
    stream: bool = True
    shares: Shares = field(default_factory=Shares)
    horizon: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Outcome:
    """What became of a replay."""

    plan: Plan
    books: Sequence[Book]
    counts: Counts
    answers: Mapping[Identity, float]
    outcomes: Mapping[str, int]
    degraded: int
    skill: Metric
    live: float | None
    seconds: float

    @property
    def balances(self) -> bool:
        """Whether every book does."""
        return all(book.balances for book in self.books)


@dataclass
class Session:
    """One replay about to run: the facts and queries of its span, and what was there before."""

    use_case: UseCase
    environment: Mapping[str, str]
    plan: Plan
    opening: Opening
    facts_from: datetime
    facts: Sequence[Fact]
    queries: Sequence[Query]
    outcomes: Mapping[str, int]
    announced: Sequence[Fact] = ()
    predictor_urls: Sequence[str] = ()
    say: Callable[[str], None] = print
    asked_over_http: list[Identity] = field(default_factory=list)
    refused: dict[Identity, str] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        """Where the brokers are."""
        return self.environment["KAFKA_BOOTSTRAP"]

    @property
    def sources(self) -> list[str]:
        """The sources of facts."""
        return [contract.name for contract in self.use_case.sources]

    def run(self, drills: Callable[[Callable[[str], None]], Sequence[Drill]] = lambda _say: ()) -> Outcome:
        """Replay, wait for the answers, and close the books."""
        started = time.monotonic()
        with self._replay() as replay:
            line = replay.report
            assert isinstance(line, ProgressLine)
            replay.drills = drills(line.say)
            replay.run(cut(self.facts, self.queries, self.facts_from, self.plan.end, self.plan.step))
            replay.answers.wait_for_all(ANSWERS_LIMIT_SECONDS, lambda: line(replay.counts))
            line.say(line.text(replay.counts, time.monotonic() - started))
            answers = replay.answers
        seconds = time.monotonic() - started
        closed = self._close_books()
        return Outcome(
            self.plan,
            closed,
            replay.counts,
            answers.given(),
            self.outcomes,
            answers.degraded,
            answers.target.skill,
            answers.live_skill(),
            seconds,
        )

    @contextmanager
    def _replay(self) -> Iterator[Replay]:
        """The engine, with threads that follow tiles and predictions while it runs."""
        borders, answers = Borders(self.opening.borders), Answers(self.outcomes, self.use_case.target)
        plan = self.plan
        injector = Injector(plan.shares, {contract.name: contract for contract in self.use_case.sources})
        sender = Sender(self.bootstrap)
        with ExitStack() as open_here:
            open_here.enter_context(watched(self.use_case, self.bootstrap, self.opening, borders, answers))
            predictor = None
            if self.predictor_urls:
                clients = [httpx.Client(base_url=url, timeout=30) for url in self.predictor_urls]
                predictor = PredictorBorders(*map(open_here.enter_context, clients))
            http = HttpAsker.at(self.use_case, self.environment, answers) if plan.over_http else None
            yield Replay(
                self.use_case,
                http or KafkaAsker(self.use_case, sender, injector),
                borders,
                answers,
                injector,
                sender if plan.stream else None,
                Pace(plan.speed),
                report=ProgressLine(borders, answers, self.sources),
                announced=self.announced,
                predictor=predictor,
            )
        if http is not None:
            self.refused |= http.refused
            self.asked_over_http += [(query.id, query.at) for query in self.queries]

    def _close_books(self) -> list[Book]:
        """Count until every book balances, or its time is over."""
        end = time.monotonic() + BOOKS_LIMIT_SECONDS
        while True:
            counted = self._count()
            if all(book.balances for book in counted) or time.monotonic() > end:
                return counted
            time.sleep(BOOKS_POLL_SECONDS)

    def _count(self) -> list[Book]:
        plan = self.plan
        facts = books.fact_books(self.use_case, self.bootstrap, self.opening) if plan.stream else []
        if not plan.over_http:
            return [*facts, books.queries_book(self.use_case, self.bootstrap, self.opening, plan.horizon)]
        asked, refused = self.asked_over_http, self.refused
        return [*facts, books.http_queries_book(self.use_case, self.bootstrap, self.opening, asked, refused)]


@contextmanager
def watched(use_case: UseCase, bootstrap: str, opening: Opening, borders: Borders, answers: Answers) -> Iterator[None]:
    """Threads that tell ``borders`` and ``answers`` what comes on their topics, from the opening of the books on."""
    topics = Topics(use_case.name)
    with (
        Follower(bootstrap, topics.tiles, opening.offsets[topics.tiles], borders.note),
        Follower(bootstrap, topics.predictions, opening.offsets[topics.predictions], answers.note),
    ):
        yield


def prepare(use_case: UseCase, environment: Mapping[str, str], plan: Plan) -> Session:
    """Look at the stack and read what is to be replayed; raises ``StackError`` if that makes no sense now."""
    opening = books.open_books(use_case, environment["KAFKA_BOOTSTRAP"])
    refuse_seen(opening.borders, plan)
    start = facts_from(opening.borders, published_end(use_case), plan)
    first, last = start.date(), (plan.end - timedelta(minutes=1)).date()
    facts, queries = read_span(use_case, first, last)
    return Session(
        use_case,
        environment,
        plan,
        opening,
        start,
        [fact for fact in facts if start <= fact.available < plan.end],
        [query for query in queries if plan.begin <= query.at < plan.end],
        read_outcomes(use_case, first, last),
        announced_facts(use_case, start, opening.borders),
        (environment.get("PREDICTOR_URLS") or environment["PREDICTOR_URL"]).split(","),
    )


def furthest_border(use_case: UseCase, environment: Mapping[str, str]) -> datetime | None:
    """How far the stream has come in any source; None while it has come nowhere."""
    return max(books.borders_now(use_case, environment["KAFKA_BOOTSTRAP"]).values(), default=None)


def refuse_seen(borders: Mapping[str, datetime], plan: Plan) -> None:
    """Raise if the stream has seen some of the span already: its facts would be late, its answers too fresh."""
    furthest = max(borders.values(), default=plan.begin)
    if furthest > plan.begin:
        raise StackError(
            f"the stream has come to {furthest:%Y-%m-%dT%H:%M}: {plan.begin:%Y-%m-%dT%H:%M} cannot be replayed",
            f"replay from {furthest:%Y-%m-%dT%H:%M} on",
        )


def facts_from(borders: Mapping[str, datetime], published: datetime | None, plan: Plan) -> datetime:
    """Where facts have to begin: at the start of the span, or earlier, where what the layers know ends."""
    known = covered_until(borders, published)
    return plan.begin if known is None or not plan.stream else min(plan.begin, known)


def covered_until(borders: Mapping[str, datetime], published: datetime | None) -> datetime | None:
    """Until when facts are in the batch layer's days or in the stream's tiles; None if nothing is anywhere."""
    ends = [end for end in (published, min(borders.values(), default=None)) if end is not None]
    return max(ends, default=None)


def published_end(use_case: UseCase) -> datetime | None:
    """The end of the days that the batch layer has published; None while there are none."""
    days = closed_so_far(use_case, PREPROCESS)
    return day_start(date.fromisoformat(max(days))) + DAY if days else None
