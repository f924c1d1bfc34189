"""The newcomer's path in one file: landing files, DAGs, a promoted model, a prediction, days replayed, dashboards.

    python -m local_stack.demo [--days 35] [--trials 8]

It drives the running stack as a user would: the feeder writes landing files, Airflow's REST API triggers the DAGs,
the analysts' doors (HiveServer2, MySQL) give the figures and the predictor answers. It exits non-zero if any stage
fails. It knows no domain: the use case brings its feeder, and a known subject is asked about.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from deltalake import DeltaTable
from rich.console import Console
from rich.table import Table

from include import ledger
from include.bundle.store import S3Store
from include.locations import MODELS_BUCKET, Lake
from include.settings import S3Settings
from include.use_case import UseCase, load_use_case
from include.use_cases import chosen_use_case
from local_stack.airflow_api import AirflowApi, RunFailed, now, poll
from local_stack.analyst import query_hive, query_mysql
from local_stack.control import up
from local_stack.environment import environment_of
from local_stack.faults import StackError
from local_stack.layout import layout_from
from local_stack.replay.session import Outcome, Plan, furthest_border, prepare
from local_stack.replay.tables import books_table, summary_line
from local_stack.replay.timeline import DAY, day_start
from local_stack.replay.verify import days_of, ingest_days
from local_stack.replay.watching import TilesBehind
from local_stack.stack import open_stack
from local_stack.upstream import land_days

MINUTE = 60.0
STEP = timedelta(minutes=30)
#: How far the day is known that is still open at the end.
OPEN_UNTIL = timedelta(hours=18)
console = Console(highlight=False)


@dataclass
class Demo:
    """One demonstration over the days ``first`` to ``last``, and how long each stage took."""

    use_case: UseCase
    environment: Mapping[str, str]
    airflow: AirflowApi
    first: date
    last: date
    trials: int
    seconds: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one stage, timed, with a heading."""
        console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        result = work()
        self.seconds[name] = time.monotonic() - started
        console.print(f"{name}: {self.seconds[name]:.0f} s")
        return result

    def run_dag(self, dag_id: str, seconds: float, conf: Mapping[str, Any] | None = None) -> str:
        """Trigger a DAG, follow it to its end and return its run id."""
        self.airflow.wait_for_dag(dag_id)
        self.airflow.unpause(dag_id)
        run_id = self.airflow.trigger(dag_id, conf)
        self.airflow.follow(dag_id, run_id, seconds, console.print)
        return run_id


def feed(demo: Demo) -> None:
    """Write the landing files of the days as upstream systems would, and the reference tables."""
    land_days(demo.use_case, demo.environment, demo.first, demo.last, "--reference")


def ingest(demo: Demo) -> None:
    """Batch layer: landing files to raw, tiles, features and closed labels, every book balanced."""
    demo.run_dag("ingest_window", 30 * MINUTE, {"from": demo.first.isoformat(), "to": demo.last.isoformat()})


def train(demo: Demo) -> None:
    """Search, train and evaluate; the candidate's asset starts the promotion, whose end is waited for."""
    started = now()
    demo.airflow.wait_for_dag("promote_model")
    demo.airflow.unpause("promote_model")
    demo.run_dag("train_model", 30 * MINUTE, {"trials": demo.trials})
    run_id = demo.airflow.wait_for_triggered_run("promote_model", started)
    demo.airflow.follow("promote_model", run_id, 10 * MINUTE, console.print)
    store = S3Store(S3Settings.from_environment(demo.environment), MODELS_BUCKET)
    if ledger.champion(store, demo.use_case.name) is None:
        reasons = "; ".join(demo.airflow.xcom("promote_model", run_id, "promote")["reasons"])
        raise StackError(f"the gate refused the first model ({reasons})", "run make demo again")


def load(demo: Demo) -> None:
    """Metrics from Kafka into Hive, read back through HiveServer2."""
    demo.run_dag("load_metrics", 20 * MINUTE)


def refresh(demo: Demo) -> None:
    """Recent days and statistics into MySQL. A run that has begun by itself is waited for."""
    demo.run_dag("refresh_serving", 20 * MINUTE)


def compute_statistics(demo: Demo) -> None:
    """Intervals, tests and drift over every day whose labels have closed; again by itself when more close."""
    demo.run_dag("compute_statistics", 20 * MINUTE)


def watch(demo: Demo) -> None:
    """Look once for what is late or wrong; from now on every quarter of an hour."""
    demo.run_dag("watch_freshness", 10 * MINUTE)


def known_subject(demo: Demo) -> dict[str, Any]:
    """A subject of the last ingested day, as a client would send it."""
    path = Lake(demo.use_case.name).path(f"raw_{demo.use_case.subject_source}", "s3")
    table = DeltaTable(path, storage_options=S3Settings.from_environment(demo.environment).delta_options())
    names = [f.name for f in demo.use_case.subject.fields if f.name != "prediction_time"]
    rows = table.to_pyarrow_table(filters=[("ds", "=", demo.last.isoformat())], columns=names).sort_by(
        demo.use_case.subject_time
    )
    subject: dict[str, Any] = rows.slice(0, 1).to_pylist()[0]
    return {name: f"{v:%Y-%m-%dT%H:%M:%SZ}" if isinstance(v, datetime) else v for name, v in subject.items()}


def predict(demo: Demo) -> dict[str, Any]:
    """Ask the predictor about a known subject."""
    url = f"{demo.environment['PREDICTOR_URL']}/v1/{demo.use_case.name}/predict"
    token = {"Authorization": f"Bearer {demo.environment['PREDICTOR_TOKEN']}"}
    subject = known_subject(demo)
    console.print(f"POST {url}\n{json.dumps({'subjects': [subject]}, indent=2)}")
    answer = httpx.post(url, json={"subjects": [subject]}, headers=token, timeout=30)
    console.print(f"{answer.status_code} {json.dumps(answer.json(), indent=2)}")
    answer.raise_for_status()
    return dict(answer.json())


def stream(demo: Demo) -> None:
    """Start the use case's streaming job, as ``make up`` would."""
    stack = open_stack(layout_from())
    up(stack, [stack.server_of("stream", demo.use_case.name)])


def replay(demo: Demo) -> Outcome:
    """The day after the training window, as it happened: facts and queries through Kafka, every one in the books.

    A stream that has come further than that day (the demonstration ran before) goes on from where it is.
    """
    seen = furthest_border(demo.use_case, demo.environment)
    begin = max(day_start(demo.last) + DAY, seen) if seen else day_start(demo.last) + DAY
    return play(demo, Plan(begin, day_start(begin.date()) + DAY, step=STEP))


def play(demo: Demo, plan: Plan) -> Outcome:
    """Replay a span; raises ``RunFailed`` if a fact, a query or an answer is unaccounted for."""
    console.print(f"Facts, heartbeats and queries from {plan.begin} to {plan.end}, as they became known")
    outcome = prepare(demo.use_case, demo.environment, plan).run()
    wrong = [book.words() for book in outcome.books if not book.balances]
    if wrong:
        raise RunFailed("the books of the replay do not balance: " + "; ".join(wrong))
    return outcome


def judge(demo: Demo, replayed: Outcome) -> None:
    """The replayed day through the batch layer, and the next, so that its labels close; then MySQL has live quality."""
    first, last, until = days_of(demo.use_case, replayed.plan)
    started = now()
    ingest_days(demo.use_case, demo.environment, demo.airflow, first, until, console.print)
    run_id = demo.airflow.wait_for_triggered_run("load_metrics", started)
    demo.airflow.follow("load_metrics", run_id, 20 * MINUTE, console.print)
    shown = f"select count(*) from model_quality where role = 'live' and ds = '{last}'"
    for _ in poll(20 * MINUTE, every=2):
        if query_mysql(demo.environment, shown)[0][0]:
            return
    raise RunFailed(f"no refresh brought the live quality of {last} to MySQL")


def open_day(demo: Demo, replayed: Outcome) -> None:
    """The day after those that batch has closed, up to the evening: MySQL shows it from the speed layer alone."""
    _, _, closed = days_of(demo.use_case, replayed.plan)
    begin = day_start(closed) + DAY
    play(demo, Plan(begin, begin + OPEN_UNTIL, step=STEP))
    refresh(demo)


def dashboards(demo: Demo) -> None:
    """Superset and its worker; the dashboards are imported before it starts."""
    up(open_stack(layout_from()), ["superset", "superset-worker"])


def table_of(title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table for the terminal."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("source", "model", "stage") else "right")
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    return table


def book_rows(demo: Demo) -> list[tuple[Any, ...]]:
    """The ingest book of the demonstrated days by source, from Hive; raises if a source does not balance."""
    rows = query_hive(
        demo.environment,
        "select source, sum(landed), sum(ingested), sum(quarantined), sum(duplicate), count(*) from book "
        f"where stage = 'ingest' and closed and ds between '{demo.first}' and '{demo.last}' "
        "group by source order by source",
    )
    for source, landed, ingested, quarantined, duplicate, _ in rows:
        if landed != ingested + quarantined + duplicate:
            raise RunFailed(f"the book of {source} does not balance: {landed} landed")
    return rows


def quality_rows(demo: Demo, run_id: str) -> list[tuple[Any, ...]]:
    """Quality on the test days of the last training run's candidate and its rivals, from Hive."""
    figures, loss = ", ".join(metric.name for metric in demo.use_case.target.metrics), demo.use_case.target.loss
    return query_hive(
        demo.environment,
        f"select role, rows, {figures} from model_quality where split = 'test' and run_id = '{run_id}' "
        f"order by {loss.name}",
    )


def summary(demo: Demo, answer: Mapping[str, Any], replayed: Outcome) -> None:
    """Print what went through the layers, as the stores tell it, and where to look."""
    figures = [metric.words for metric in demo.use_case.target.metrics]
    headings = ("source", "landed", "ingested", "quarantined", "duplicate", "days")
    console.print(table_of("Books (Hive)", headings, book_rows(demo)))
    features = query_hive(demo.environment, "select count(*), count(distinct ds) from features")[0]
    run_id, trials = query_hive(
        demo.environment, "select run_id, count(*) from training_runs group by run_id order by max(time) desc limit 1"
    )[0]
    console.print(f"Features: {features[0]} rows over {features[1]} days. Trials: {trials} in run {run_id}.")
    console.print(table_of("Test days (Hive)", ("model", "rows", *figures), quality_rows(demo, run_id)))
    shown = "select layer, count(*), max(complete_through) from events_now group by layer order by layer"
    for layer, events, through in query_mysql(demo.environment, shown):
        console.print(f"MySQL: {events} recent events from the {layer} layer, complete through {through}.")
    prediction, target = answer["predictions"][0], demo.use_case.target
    console.print(
        f"Prediction: {target.said(prediction[target.answer])} for {prediction['id']} "
        f"by model {answer['model_id'][:12]}."
    )
    console.print(books_table(replayed.books))
    console.print(f"Replay of {replayed.plan.begin:%Y-%m-%d}: {summary_line(replayed)}.")
    stages = [(name, f"{seconds:.0f} s") for name, seconds in demo.seconds.items()]
    console.print(table_of("Time", ("stage", "took"), [*stages, ("in all", f"{sum(demo.seconds.values()):.0f} s")]))
    console.print("Where to look (passwords and tokens are in " + str(secrets_file(demo.environment)) + ")")
    for what, address, sign_in in addresses(demo.environment):
        console.print(f"  {what:<10} {address:<26} {sign_in}")


def secrets_file(environment: Mapping[str, str]) -> Path:
    """The file that holds every endpoint and secret; a terminal's output is too easily shared to print them."""
    return Path(environment["LAMBDA_DL_STATE"]) / "stack.env"


def addresses(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The doors for people: what, address, and how to sign in."""
    mysql_user, superset_user = environment["MYSQL_ANALYST_USER"], environment["SUPERSET_ANALYST_USER"]
    return [
        ("Dashboards", environment["SUPERSET_URL"], f"{superset_user}, SUPERSET_ANALYST_PASSWORD"),
        ("Airflow", environment["AIRFLOW_URL"], f"{environment['AIRFLOW_USER']}, AIRFLOW_PASSWORD"),
        ("Predictor", environment["PREDICTOR_URL"], "PREDICTOR_TOKEN, for predictions"),
        ("Ray", environment["RAY_ADDRESS"], "RAY_AUTH_TOKEN"),
        ("Hive", f"{environment['HIVE_HOST']}:{environment['HIVE_PORT']}", f"{environment['HIVE_USER']}, no password"),
        ("MySQL", f"{environment['MYSQL_HOST']}:{environment['MYSQL_PORT']}", f"{mysql_user}, MYSQL_ANALYST_PASSWORD"),
    ]


def demonstrate(demo: Demo) -> None:
    """All stages in the order of the data."""
    demo.stage("feed landing", lambda: feed(demo))
    demo.stage("ingest and preprocess", lambda: ingest(demo))
    demo.stage("train and promote", lambda: train(demo))
    demo.stage("load metrics", lambda: load(demo))
    demo.stage("refresh serving", lambda: refresh(demo))
    answer = demo.stage("predict", lambda: predict(demo))
    demo.stage("start streaming", lambda: stream(demo))
    replayed = demo.stage("replay a day", lambda: replay(demo))
    demo.stage("judge the day", lambda: judge(demo, replayed))
    demo.stage("compute statistics", lambda: compute_statistics(demo))
    demo.stage("open day", lambda: open_day(demo, replayed))
    demo.stage("watch", lambda: watch(demo))
    demo.stage("dashboards", lambda: dashboards(demo))
    summary(demo, answer, replayed)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run all layers end to end on real facts.")
    parser.add_argument("--days", type=int, default=35, help="days of facts, from the first of the use case's history")
    parser.add_argument("--trials", type=int, default=8, help="trials of the hyper-parameter search")
    parser.add_argument("--use-case", default=chosen_use_case(os.environ))
    return parser.parse_args(arguments)


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the demonstration on the stack whose endpoints the environment names; 1 if a stage failed."""
    options = parse_arguments()
    use_case = load_use_case(options.use_case)
    last = use_case.history_start + timedelta(days=options.days - 1)
    try:
        own = environment_of(environment, use_case.name)
        airflow = AirflowApi.from_environment(own)
        demonstrate(Demo(use_case, own, airflow, use_case.history_start, last, options.trials))
    except (RunFailed, StackError, TilesBehind, subprocess.CalledProcessError, httpx.HTTPError) as error:
        console.print(f"[bold red]demo failed:[/] {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
