"""Replay days of real facts, and count what became of them.

    python -m local_stack.replay [--from DAY --to DAY] [--speed X] [--via kafka|http] [--without-stream] [--verify] ...

Ends with 0 when every book balances (and, with ``--verify``, no row differs for another reason than late facts),
else with 1 and the ids that are missing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from confluent_kafka import KafkaException
from rich.console import Console

from include.bundle.store import S3Store
from include.locations import MODELS_BUCKET
from include.settings import S3Settings
from include.training.dataset import Tables
from include.use_case import UseCase, load_use_case
from include.use_cases import chosen_use_case
from local_stack.airflow_api import AirflowApi, RunFailed
from local_stack.environment import environment_of
from local_stack.faults import StackError
from local_stack.layout import layout_from
from local_stack.replay import verify
from local_stack.replay.asking import PredictorAway
from local_stack.replay.books import borders_now
from local_stack.replay.drills import Kill, drill_of, parse_kill
from local_stack.replay.injection import Shares
from local_stack.replay.session import Outcome, Plan, Session, covered_until, prepare, published_end
from local_stack.replay.tables import books_table, comparison_lines, freshness_table, summary_line
from local_stack.replay.timeline import DAY, day_start
from local_stack.replay.topics import MessagesLost
from local_stack.replay.watching import TilesBehind
from local_stack.stack import open_stack

console = Console(highlight=False)


def moment(text: str) -> datetime:
    """``2013-02-04`` (its start) or ``2013-02-04T06:00``, UTC; raises ``ValueError``."""
    if len(text) == len("2013-02-04"):
        return day_start(date.fromisoformat(text))
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def end_moment(text: str) -> datetime:
    """Like ``moment``; a day is meant to its end."""
    return moment(text) + (DAY if len(text) == len("2013-02-04") else timedelta())


def share(text: str) -> float:
    """A share from 0 to 1; raises ``ValueError``."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def kill(text: str) -> Kill:
    """A drill of the command line."""
    return parse_kill(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; stops with usage when it makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m local_stack.replay", description="Replay days of real facts.")
    add = parser.add_argument
    add("--from", dest="begin", type=moment, help="first day, or minute (default: where the layers' knowledge ends)")
    add("--to", dest="end", type=end_moment, help="last day, included, or the minute to end at (default: one day)")
    add("--step-minutes", type=int, default=15, help="simulated minutes that facts may run ahead of queries")
    add("--speed", type=float, help="simulated seconds a second (default: as fast as the tiles follow)")
    add("--via", choices=("kafka", "http"), default="kafka", help="how queries are asked")
    add("--without-stream", action="store_true", help="send no facts and ask over HTTP: what is freshness worth?")
    for name, what in (("duplicates", "sent twice"), ("bad", "with a broken one beside"), ("late", "sent too late")):
        add(f"--{name}", type=share, default=0.0, metavar="P", help=f"share of messages {what}")
    add("--seed", type=int, default=0, help="of the injected shares")
    add("--kill", type=kill, action="append", default=[], metavar="SERVER@HH:MM", help="kill -9 at a simulated time")
    add("--verify", action="store_true", help="then run the days through the batch layer and compare")
    add("--use-case", default=chosen_use_case(os.environ))
    options = parser.parse_args(arguments)
    if options.step_minutes < 1 or (options.speed is not None and options.speed <= 0):
        parser.error("--step-minutes and --speed must be above 0")
    if options.begin and options.end and options.end <= options.begin:
        parser.error("--to lies before --from")
    return options


def plan_of(options: argparse.Namespace, use_case: UseCase, environment: Mapping[str, str]) -> Plan:
    """What the command line asks for; without ``--from`` where the batch layer's and the stream's knowledge ends."""
    begin = options.begin
    if begin is None:
        borders = borders_now(use_case, environment["KAFKA_BOOTSTRAP"])
        begin = max(
            [*borders.values(), covered_until(borders, published_end(use_case)) or day_start(use_case.history_start)]
        )
    end = options.end or day_start(begin.date()) + DAY
    if end <= begin:
        raise StackError(f"--to lies before {begin:%Y-%m-%dT%H:%M}, where the layers' days end", "name a later one")
    shares = Shares(options.duplicates, options.bad, options.late, options.seed)
    return Plan(
        begin,
        end,
        timedelta(minutes=options.step_minutes),
        options.speed,
        over_http=options.via == "http" or options.without_stream,
        stream=not options.without_stream,
        shares=shares,
        horizon=timedelta(seconds=float(environment.get("LAMBDA_DL_QUERY_HORIZON_SECONDS") or 3600)),
    )


def report_outcome(outcome: Outcome) -> None:
    """Print the books and how good the answers were; what does not balance in full."""
    console.print(books_table(outcome.books))
    console.print(summary_line(outcome))
    for book in outcome.books:
        if not book.balances:
            console.print(f"[bold red]does not balance:[/] {book.words()}", soft_wrap=True)


def verify_outcome(session: Session, environment: Mapping[str, str]) -> bool:
    """Run the replayed days through the batch layer, print what it says, and tell whether all rows are equal."""
    use_case, plan = session.use_case, session.plan
    airflow = AirflowApi.from_environment(environment)
    first, last, closing = verify.days_of(use_case, plan)
    # Days that were streamed before, and never ingested, come first: windows of the replayed days reach into them.
    missing = min(session.facts_from, published_end(use_case) or session.facts_from).date()
    verify.ingest_days(use_case, environment, airflow, missing, closing, console.print)
    verify.close_the_loop(airflow, console.print)
    parity = verify.parity_rows(environment, first, last)
    answers = verify.answers_since(use_case, session.bootstrap, session.opening, plan)
    console.print(freshness_table(verify.freshness(answers)))
    s3 = S3Settings.from_environment(environment)
    comparison = verify.compare(use_case, Tables.on_s3(use_case.name, s3), S3Store(s3, MODELS_BUCKET), answers)
    live = verify.live_quality_rows(environment, use_case.target, first, last)
    for text in comparison_lines(parity, live, comparison):
        console.print(text)
    equal: list[Any] = [value for _, dimension, value in parity if dimension == "parity"]
    return bool(equal) and all(value == 1.0 for value in equal)


def run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Replay; 0 if all is well."""
    use_case = load_use_case(options.use_case)
    session = prepare(use_case, environment, plan_of(options, use_case, environment))
    stack = open_stack(layout_from()) if options.kill else None
    span = f"{session.plan.begin:%Y-%m-%d %H:%M} to {session.plan.end:%Y-%m-%d %H:%M}"
    console.print(
        f"{span}: {len(session.facts)} facts from {session.facts_from:%Y-%m-%d %H:%M}, {len(session.queries)} queries"
    )
    outcome = session.run(
        lambda say: [drill_of(stack, one, session.plan.begin, say) for one in options.kill] if stack else []
    )
    report_outcome(outcome)
    equal = verify_outcome(session, environment) if options.verify else True
    return 0 if outcome.balances and equal else 1


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the replay on the stack whose endpoints the environment names."""
    logging.basicConfig(level=logging.WARNING)
    options = parse_arguments()
    try:
        return run(options, environment_of(environment, options.use_case))
    except (
        StackError, RunFailed, TilesBehind, MessagesLost, PredictorAway, KafkaException, httpx.HTTPError
    ) as error:  # fmt: skip
        console.print(f"[bold red]replay failed:[/] {error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("replay stopped; run it again without --from to go on")
        return 130


if __name__ == "__main__":
    sys.exit(main())
