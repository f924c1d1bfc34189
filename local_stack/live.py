"""Life as in production: the use case's facts, re-dated to today, flow through every layer in real time.

    python -m local_stack.live [--days 15] [--heartbeat-seconds 5]

At the first start it lands and ingests the days before today and trains a first model; then, for as long as it runs:
facts go out in the minute in which they become known, a heartbeat every few seconds, questions at their prediction
times, and after midnight (UTC) the files of the day that has ended land, for the nightly schedule to find. Started
again it goes on from its last heartbeat. It knows no domain: the use case's feeder and ``replay`` module re-date.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from confluent_kafka import KafkaException
from rich.console import Console

from include.book import PREPROCESS, closed_so_far
from include.bundle.store import S3Store
from include.ledger import champion
from include.locations import MODELS_BUCKET, Topics
from include.settings import S3Settings
from include.streaming.messages import HEARTBEAT_FIELD
from include.use_case import HISTORY_START, UseCase, load_use_case
from include.use_cases import chosen_use_case
from local_stack.airflow_api import AirflowApi, RunFailed
from local_stack.control import up
from local_stack.demo import Demo, compute_statistics, ingest, load, refresh, train, watch
from local_stack.environment import environment_of, keep_settings, own_settings, process_env
from local_stack.faults import StackError
from local_stack.layout import Layout, layout_from
from local_stack.replay.asking import KafkaAsker
from local_stack.replay.books import open_books
from local_stack.replay.engine import Replay
from local_stack.replay.injection import Injector, Shares
from local_stack.replay.progress import ProgressLine
from local_stack.replay.session import watched
from local_stack.replay.timeline import DAY, Fact, Query, Step, announced_facts, day_start, read_outcomes, read_span
from local_stack.replay.topics import MessagesLost, Sender, ends_of, read_topic
from local_stack.replay.watching import Answers, Borders
from local_stack.stack import open_stack
from local_stack.upstream import land_days

LAST_DAY = "LAMBDA_DL_LAST_DAY"
LANDING_AFTER_MIDNIGHT = timedelta(minutes=5)
#: So many messages at a topic's end hold a heartbeat, unless something else than this feeder writes there too.
TAIL = 500
console = Console(highlight=False)
ReadDay = Callable[[date], tuple[list[Fact], list[Query]]]


def stack_settings(known: Mapping[str, str], today: date, days: int) -> dict[str, str]:
    """The settings of a live stack: where its history began (once and for all), and that it has no last day."""
    return {**known, HISTORY_START: known.get(HISTORY_START) or (today - DAY * days).isoformat(), LAST_DAY: ""}


@dataclass
class Day:
    """The facts and queries of one UTC day, each in the order of time."""

    facts: Sequence[Fact]
    queries: Sequence[Query]

    def between(self, start: datetime, end: datetime) -> tuple[tuple[Fact, ...], tuple[Query, ...]]:
        """What became known, and what is asked, in [start, end)."""
        known, asked = [fact.available for fact in self.facts], [query.at for query in self.queries]
        facts = self.facts[bisect_left(known, start) : bisect_left(known, end)]
        queries = self.queries[bisect_left(asked, start) : bisect_left(asked, end)]
        return tuple(facts), tuple(queries)


@dataclass
class LiveSteps:
    """Steps of real time from ``at`` on, none over a midnight; those of the past at once, then one a ``beat``.

    Nobody asks about the past: queries from before ``asking_from`` are left out.
    """

    read_day: ReadDay
    at: datetime
    asking_from: datetime
    beat: timedelta
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]
    _day: tuple[date, Day] | None = None

    def __iter__(self) -> Iterator[Step]:
        while True:
            due = min(self.at + self.beat, self._midnight())
            self.sleep(max((due - self.clock()).total_seconds(), 0.0))
            end = min(self.clock().replace(microsecond=0), self._midnight())
            if end > self.at:
                facts, queries = self._today().between(self.at, end)
                step = Step(self.at, end, facts, tuple(q for q in queries if q.at >= self.asking_from))
                self.at = end
                yield step

    def _midnight(self) -> datetime:
        return day_start(self.at.date()) + DAY

    def _today(self) -> Day:
        today = self.at.date()
        if self._day is None or self._day[0] != today:
            self._day = (today, Day(*self.read_day(today)))
        return self._day[1]


@dataclass
class Nights:
    """What is due after each midnight: the landing of the day that has ended, once, tried again if it fails."""

    landed_through: date
    land: Callable[[date], None]
    report: Callable[[str], None]

    def pass_time(self, now: datetime) -> None:
        """Land every day that ended at least some minutes ago."""
        while day_start(self.landed_through + DAY) + DAY + LANDING_AFTER_MIDNIGHT <= now:
            day = self.landed_through + DAY
            try:
                self.land(day)
            except (subprocess.CalledProcessError, OSError) as error:
                self.report(f"the files of {day} did not land, trying again: {error}")
                return
            self.landed_through = day
            self.report(f"the files of {day} have landed")


@dataclass
class KnownOutcomes:
    """Outcomes as the labels close: those of a day once the day after has ended too."""

    use_case: UseCase
    read: Callable[[date], Mapping[str, int]]
    outcomes: MutableMapping[str, int] = field(default_factory=dict)
    closed_through: date | None = None

    def pass_time(self, now: datetime) -> None:
        """Take in the day whose labels have closed."""
        closed = now.date() - DAY * (self.use_case.label_horizon_days + 1)
        if self.closed_through is None or self.closed_through < closed:
            self.outcomes.update(self.read(closed))
            self.closed_through = closed


def last_heartbeats(bootstrap: str, use_case: UseCase) -> dict[str, datetime]:
    """Source -> the last heartbeat on its topic, of those sources that have one near the topic's end."""
    topics = {contract.name: Topics(use_case.name).facts(contract.name) for contract in use_case.sources}
    ends = ends_of(bootstrap, topics.values())
    found = {}
    for source, topic in topics.items():
        tail = {number: max(end - TAIL, 0) for number, end in ends[topic].items()}
        values = [read.value for read in read_topic(bootstrap, topic, tail)]
        found[source] = newest_heartbeat(values)
    return {source: moment for source, moment in found.items() if moment is not None}


def newest_heartbeat(values: Iterable[bytes | None]) -> datetime | None:
    """The latest ``complete_through`` among some messages."""
    moments = []
    for value in values:
        try:
            message: Any = json.loads(value or b"")
        except ValueError:
            continue
        if isinstance(message, dict) and message.get(HEARTBEAT_FIELD):
            moments.append(datetime.fromisoformat(message[HEARTBEAT_FIELD]))
    return max(moments, default=None)


def resume_at(heartbeats: Mapping[str, datetime], sources: Sequence[str], today: date) -> datetime:
    """Where facts go on: at the earliest last heartbeat, or with today if a source never had one."""
    if any(source not in heartbeats for source in sources):
        return day_start(today)
    return min(heartbeats[source] for source in sources)


def days_missing(published: set[str], first: date, last: date) -> list[date]:
    """The days from ``first`` to ``last`` that the batch layer has not published."""
    days = (first + DAY * number for number in range((last - first).days + 1))
    return [day for day in days if day.isoformat() not in published]


def catch_up(use_case: UseCase, environment: Mapping[str, str], today: date, trials: int) -> None:
    """Land, ingest and preprocess every ended day that the batch layer lacks; train if there is no champion yet."""
    last = today - DAY
    airflow = AirflowApi.from_environment(environment)
    missing = days_missing(closed_so_far(use_case, PREPROCESS), use_case.history_start, last)
    batch = Demo(use_case, environment, airflow, min(missing, default=last), last, trials)
    land_days(use_case, environment, batch.first, last, "--redated", "--reference")
    if missing:
        batch.stage("ingest and preprocess", lambda: ingest(batch))
    if champion(S3Store(S3Settings.from_environment(environment), MODELS_BUCKET), use_case.name) is None:
        batch.stage("train and promote", lambda: train(batch))
        batch.stage("load metrics", lambda: load(batch))
        batch.stage("compute statistics", lambda: compute_statistics(batch))
        batch.stage("refresh serving", lambda: refresh(batch))
        batch.stage("watch", lambda: watch(batch))


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


def live(use_case: UseCase, environment: Mapping[str, str], today: date, beat: timedelta) -> None:
    """Feed facts and questions in real time until interrupted; days before ``today`` have landed."""
    bootstrap = environment["KAFKA_BOOTSTRAP"]
    opening, now = open_books(use_case, bootstrap), utc_now()
    sources = [contract.name for contract in use_case.sources]
    known = KnownOutcomes(use_case, lambda day: read_outcomes(use_case, day, day, redated=True))
    borders, answers = Borders(opening.borders), Answers(known.outcomes, use_case.target)
    line = ProgressLine(borders, answers, sources)
    nights = Nights(today - DAY, lambda day: land_days(use_case, environment, day, day, "--redated"), line.say)
    sender, injector = Sender(bootstrap), Injector(Shares(), {contract.name: contract for contract in use_case.sources})
    asker = KafkaAsker(use_case, sender, injector)
    heartbeats = last_heartbeats(bootstrap, use_case)
    start = resume_at(heartbeats, sources, today)
    steps = LiveSteps(lambda day: read_span(use_case, day, day, redated=True), start, now, beat, utc_now, time.sleep)
    replay = Replay(
        use_case,
        asker,
        borders,
        answers,
        injector,
        sender,
        report=line,
        tiles_limit=beat.total_seconds(),
        tolerant=True,
        announced=announced_facts(use_case, start, heartbeats, redated=True),
    )
    line.say(f"facts from {start:%Y-%m-%d %H:%M} on, questions from now on; Ctrl-C ends this, the servers stay up")
    with watched(use_case, bootstrap, opening, borders, answers):
        replay.begin(start)
        for step in steps:
            replay.play(step)
            nights.pass_time(utc_now())
            known.pass_time(utc_now())


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.live", description="Re-dated facts in real time.")
    parser.add_argument("--days", type=int, default=15, help="days of history to begin with, at the first start")
    parser.add_argument("--heartbeat-seconds", type=int, default=5, help="how often every source says how far it is")
    parser.add_argument("--trials", type=int, default=8, help="trials of the first hyper-parameter search")
    parser.add_argument("--use-case", help="one of the stack's; else its first")
    options = parser.parse_args(arguments)
    if options.days < 1 or options.heartbeat_seconds < 1 or options.trials < 1:
        parser.error("--days, --heartbeat-seconds and --trials must be at least 1")
    return options


def start(layout: Layout, days: int) -> dict[str, str]:
    """Bring the whole stack up with its own settings, and return the environment of its processes."""
    stack = open_stack(layout)
    keep_settings(layout, stack_settings(own_settings(layout), utc_now().date(), days))
    up(stack, everything=True)
    return process_env(stack)


def main() -> int:
    """Start the stack, catch up, and live; 1 with one line that says why not."""
    logging.basicConfig(level=logging.WARNING)
    options = parse_arguments()
    try:
        environment = start(layout_from(), options.days)
        name = options.use_case or chosen_use_case(environment)
        environment = environment_of(environment, name)
        os.environ.update(environment)
        use_case = load_use_case(name, environment)
        today = utc_now().date()  # once: catching up may go on past midnight
        catch_up(use_case, environment, today, options.trials)
        live(use_case, environment, today, timedelta(seconds=options.heartbeat_seconds))
    except (
        StackError, RunFailed, MessagesLost, KafkaException, subprocess.CalledProcessError, httpx.HTTPError
    ) as error:  # fmt: skip
        console.print(f"[bold red]live stopped:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nthe feeder has ended; run the same command again to go on, or `make down` for this stack")
    return 0


if __name__ == "__main__":
    sys.exit(main())
