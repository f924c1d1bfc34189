"""Python tasks that several DAGs share: they read the connections, call ``include`` and log what came of it.

They decide which faults are worth a retry. What is computed is ``include``'s affair; its modules are imported when a
task runs, so that parsing a DAG stays quick.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import XComArg, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from lambda_dl.actor import actor_of
from lambda_dl.cases import Case, case_now
from lambda_dl.connections import HIVE, KAFKA, MYSQL, S3, connected
from lambda_dl.conventions import TRANSIENT
from lambda_dl.deployment import DEPLOYMENT
from lambda_dl.operators.derive_days import DERIVING_DAG, DeriveDaysOperator, runs_for
from lambda_dl.sensors.batch_event import started_at
from lambda_dl.span import Span, SpanError, span_of, span_of_run

log = logging.getLogger(__name__)

#: What a person may answer who is asked about a candidate.
APPROVE, REJECT = "Approve", "Reject"


class EarlierDaysOpen(AirflowException):
    """Days that a day's windows need are not ingested yet; the text names them."""


def span_now() -> Span:
    """The days of the running task's DAG run; raises ``AirflowFailException`` if it names none."""
    try:
        return span_of_run(get_current_context())
    except SpanError as error:
        raise AirflowFailException(str(error)) from error


@contextmanager
def data_errors_fail() -> Iterator[None]:
    """Turn a book that does not balance into a failure that is not tried again."""
    from include.book import BookMismatch

    try:
        yield
    except BookMismatch as error:
        raise AirflowFailException(str(error)) from error


def mark_partitions(outlet_events: Any, asset: Any, span: Span) -> None:
    """Say which days of an asset this task has made, when the run has no partition key that says so."""
    if get_current_context()["dag_run"].partition_key is None:
        outlet_events[asset].add_partitions(span.partition_keys())


def _close_ingest(run_id: str) -> Span:
    from include.book import close_ingest_book
    from include.use_case import load_use_case

    span = span_now()
    with connected(S3), data_errors_fail():
        for entry in close_ingest_book(load_use_case(case_now().name), span.days(), run_id):
            log.info("%s", entry.numbers())
    return span


def _close_preprocess(run_id: str) -> Span:
    from include.book import close_preprocess_book
    from include.use_case import load_use_case

    span = span_now()
    with connected(S3), data_errors_fail():
        for entry in close_preprocess_book(load_use_case(case_now().name), span.days(), run_id):
            log.info("%s", entry.numbers())
    return span


@task
def close_ingest_book(*, run_id: str, outlet_events: Any) -> list[str]:
    """Balance landed = ingested + quarantined + duplicate for every source, and announce the day to the next DAG."""
    span = _close_ingest(run_id)
    mark_partitions(outlet_events, case_now().raw, span)
    return span.partition_keys()


@task(task_id="close_ingest_book")
def close_ingest_book_of_window(*, run_id: str) -> list[str]:
    """The same without announcing the days: this run itself goes on with them."""
    return _close_ingest(run_id).partition_keys()


@task
def close_preprocess_book(*, run_id: str, outlet_events: Any) -> list[str]:
    """Balance subjects against rows of features, and announce the days."""
    span = _close_preprocess(run_id)
    mark_partitions(outlet_events, case_now().features, span)
    return span.partition_keys()


@task
def days_left_behind() -> list[dict[str, Any]]:
    """The runs that derive again what was derived without facts that are there by now; mostly none."""
    from include.impact import ranges_left_behind
    from include.use_case import load_use_case

    context = get_current_context()
    run, began = context["dag_run"], datetime.fromtimestamp(started_at(context, "preprocess") / 1000, UTC)
    with connected(S3):
        spans = ranges_left_behind(load_use_case(case_now().name), run.run_id, span_now().days(), began)
    for first, last in spans:
        log.info("derived before these facts came, so to be derived again: %s to %s", first, last)
    return runs_for(spans, run.dag_id, run.run_id)


def derive_left_behind(case: Case) -> XComArg:
    """The last two tasks of a DAG that derives days: ask what it has left behind, and start a run for each span.

    Returns the first of them. What is started is not waited for: one run of the deriving DAG goes on at a time.
    """
    left_behind = days_left_behind()
    DeriveDaysOperator.partial(
        task_id="derive_left_behind",
        trigger_dag_id=case.dag_id(DERIVING_DAG),
        wait_for_completion=False,
        deferrable=False,
        **TRANSIENT,
    ).expand_kwargs(left_behind)
    return left_behind


@task
def require_earlier_days() -> None:
    """Refuse while a day that the windows of these days need is open; of the days themselves too."""
    from include.book import earlier_days_open
    from include.use_case import load_use_case

    use_case = load_use_case(case_now().name)
    days = span_now().days()
    with connected(S3):
        still = earlier_days_open(use_case, days)
    if still:
        raise EarlierDaysOpen(f"not ingested yet, so their facts are missing from the windows: {', '.join(still)}")


@task
def require_ingested_days() -> None:
    """Fail unless the ingest book of every day of the form is closed: what is done next counts these days again."""
    from include.book import INGEST

    with connected(S3):
        closed = _closed(INGEST)
    still = [ds for ds in span_now().partition_keys() if ds not in closed]
    if still:
        raise AirflowFailException(f"not ingested yet: {', '.join(still)}. Choose days that are, or ingest these first")


@task
def choose_window(*, params: dict[str, Any], run_id: str) -> dict[str, str]:
    """The days to train on: the form's, where it says some, else from the first to the last day with closed labels.

    Where the form says none, days of poor data are left out, lest one of them stops every night that follows.
    A run that is cleared and run again trains on the same.
    """
    from include.bundle.store import S3Store
    from include.locations import MODELS_BUCKET
    from include.settings import S3Settings
    from include.training.window import pin_window

    with connected(S3):
        store = S3Store(S3Settings.from_environment(), MODELS_BUCKET)
        window = pin_window(store, case_now().name, run_id, lambda: _window(params))
    log.info("Training on %s to %s", window["from"], window["to"])
    if left_out := _left_out(window):
        log.error("%d days of poor data are left out: %s", len(left_out), ", ".join(sorted(left_out)))
    return window


def _window(params: dict[str, Any]) -> dict[str, str]:
    from include.book import LABELLING

    first, last = params.get("from"), params.get("to")
    if first and last:
        return _checked_window(first, last)
    closed = sorted(_closed(LABELLING))
    if not closed:
        raise AirflowSkipException("no day has closed labels yet: there is nothing to train on")
    window = _checked_window(first or closed[0], last or closed[-1])
    if first or last or params.get("accept_quality"):
        return window
    return {**window, "without": ",".join(_poor_days(window, closed))}


def _checked_window(first: str, last: str) -> dict[str, str]:
    try:
        span = span_of(None, {"from": first, "to": last})
    except SpanError as error:
        raise AirflowFailException(str(error)) from error
    return {"from": span.first.isoformat(), "to": span.last.isoformat()}


def _left_out(window: Mapping[str, str]) -> set[str]:
    return set(filter(None, window.get("without", "").split(",")))


def _poor_days(window: Mapping[str, str], closed: list[str]) -> list[str]:
    """The days of a window with a value below a threshold; somebody is told of them, each time that there are newer."""
    from include.alerts import Alert, tell
    from include.quality import shortfalls
    from include.training.dataset import DatasetError
    from include.training.window import check_enough
    from include.use_case import load_use_case

    case = case_now().name
    rows = _measured(span_of(None, window).partition_keys())
    found = shortfalls(rows, load_use_case(case).quality.thresholds)
    if not found:
        return []
    days = sorted({shortfall.ds for shortfall in found})
    for shortfall in found:
        log.error("left out of training: %s", shortfall.words())
    try:
        check_enough(closed, days)
    except DatasetError as error:
        raise AirflowFailException(
            f"not trained: without the days whose data quality is below a threshold ({len(days)} from {days[0]} to "
            f"{days[-1]}, named above) too few remain: {error}. Mend the source or the threshold; to train on all of "
            "them, trigger by hand with 'Accept quality'"
        ) from error
    # The newest first: a long message is cut off.
    words = "; ".join(shortfall.words() for shortfall in reversed(found))
    tell(case, Alert("quality", "train_model", f"{len(days)} days left out of training: {words}", days[-1]), os.environ)
    return days


def _measured(days: list[str]) -> list[Mapping[str, Any]]:
    """The scorecard of some days, without what was measured of facts that were withdrawn since."""
    from include import lake
    from include.tables import DATA_QUALITY
    from include.tombstones import counted, read_events, retracted_keys

    name, columns = case_now().name, ["ds", "source", "dimension", "value", "time"]
    return counted(lake.read_rows(name, DATA_QUALITY.name, columns, days), retracted_keys(read_events(name)))


@task
def require_quality(window: dict[str, str], *, params: dict[str, Any]) -> int:
    """Refuse to train on days whose data quality lies below a threshold of the use case; returns how many values count.

    A day that nobody has assessed yet is named in a warning and does not stop training. Days that the window leaves out
    are not asked about; one that fell short after the window was chosen stops this run, and the next leaves it out.
    """
    from include.quality import newest_values, shortfalls
    from include.use_case import load_use_case

    left_out = _left_out(window)
    days = [ds for ds in span_of(None, window).partition_keys() if ds not in left_out]
    with connected(S3):
        rows = _measured(days)
    if missing := sorted(set(days) - {str(row["ds"]) for row in rows}):
        log.warning("no data quality is loaded yet of %d days: %s", len(missing), ", ".join(missing))
    found = [shortfall.words() for shortfall in shortfalls(rows, load_use_case(case_now().name).quality.thresholds)]
    for words in found:
        log.error("%s", words)
    if found and not params.get("accept_quality"):
        chosen = params.get("from") or params.get("to")
        remedy = "Choose other days" if chosen else "A new run leaves them out"
        raise AirflowFailException(
            f"not trained on {window['from']} to {window['to']}: {'; '.join(found)}. {remedy}; "
            "to train all the same, trigger by hand with 'Accept quality'"
        )
    return len(newest_values(rows))


@task
def choose_candidate(*, params: dict[str, Any], triggering_asset_events: Any) -> str:
    """The model id of the form, else of the newest candidate that started this run."""
    announced = [event.extra["model_id"] for event in triggering_asset_events[case_now().candidate]]
    model_id = params.get("model_id") or (announced[-1] if announced else None)
    if not model_id:
        raise AirflowFailException("no candidate: trigger this DAG with a model id, or train one")
    return str(model_id)


@task.branch
def ask_a_person(*, params: dict[str, Any]) -> str:
    """Where the run goes on: by asking a person, or at once."""
    return "judge" if params["approval"] else "promote"


@task.short_circuit
def judge(model_id: str, *, params: dict[str, Any], run_id: str, dag_run: Any) -> str:
    """Ask the gate first: a person is asked only about what it lets pass. Returns what that person must know."""
    from include import promotion

    with _promoting() as (systems, use_case):
        accept = bool(params.get("accept_quality"))
        words = promotion.judge(systems, use_case, model_id, run_id, actor_of(dag_run), accept)
    log.info("%s %s", model_id, words or "was refused: python -m include.refusals says why")
    return words


@task(trigger_rule="none_failed")
def promote(model_id: str, *, params: dict[str, Any], run_id: str, dag_run: Any, ti: Any) -> dict[str, Any]:
    """Compare, and if the gate lets the candidate pass, write the ledger's next line and broadcast it."""
    from include import promotion

    approval = _approval(ti.xcom_pull(task_ids="approve")) if params["approval"] else None
    with _promoting() as (systems, use_case):
        accept = bool(params.get("accept_quality"))
        outcome = promotion.promote(systems, use_case, model_id, run_id, actor_of(dag_run), accept, approval)
    log.info("%s %s", model_id, f"is ledger line {outcome.sequence}" if outcome.promoted else "was refused")
    for reason in outcome.reasons:
        log.info("- %s", reason)
    return {**asdict(outcome), "reasons": list(outcome.reasons)}


@contextmanager
def _promoting() -> Iterator[tuple[Any, Any]]:
    from include.bundle.store import ObjectMissing
    from include.promotion import Systems
    from include.use_case import load_use_case

    with connected(S3, KAFKA):
        try:
            yield Systems.from_environment(case_now().name), load_use_case(case_now().name)
        except ObjectMissing as error:
            raise AirflowFailException(f"there is no such bundle: {error}") from error


def _approval(response: Mapping[str, Any]) -> Any:
    """The answer in Airflow's form; nobody's is the form's default, which rejects."""
    from include.promotion import Approval

    by = (response["responded_by_user"] or {}).get("name", "")
    comment = str((response["params_input"] or {}).get("comment") or "")
    return Approval(response["chosen_options"] == [APPROVE], by, comment)


@task.short_circuit
def anything_ingested() -> bool:
    """Skip the rest while no day is ingested: there is nothing to show, and a Spark session is not free."""
    from include.book import INGEST

    with connected(S3):
        return bool(_closed(INGEST))


def _closed(stage: str) -> set[str]:
    """The closed days of a stage; none while the first ingest has not made the tables."""
    from include.book import closed_so_far
    from include.use_case import load_use_case

    return closed_so_far(load_use_case(case_now().name), stage)


# What skips is the job alone: the metrics behind it are loaded in any case.
@task.short_circuit(ignore_downstream_trigger_rules=False)
def anything_to_score() -> bool:
    """Skip the Spark job while no prediction is new and no day's labels or tiles were closed since it last ran."""
    from include.predictions.due import outstanding
    from include.settings import KafkaSettings
    from include.use_case import load_use_case

    with connected(S3, KAFKA):
        found = outstanding(load_use_case(case_now().name), KafkaSettings.from_environment())
    log.info("%s", found.words())
    return bool(found)


@task.short_circuit
def anything_to_compute() -> bool:
    """Skip the Spark job while no labels have closed, or closed again after a retraction, since it last wrote."""
    from deltalake.exceptions import TableNotFoundError

    from include.book import LABELLING, last_closed
    from include.lake import last_written, rows_by_day
    from include.tables import STATISTICS
    from include.use_case import load_use_case

    with connected(S3):
        closed = _closed(LABELLING)
        if not closed:
            return False
        name = case_now().name
        try:
            computed, written = rows_by_day(name, STATISTICS.name), last_written(name, STATISTICS.name)
        except TableNotFoundError:
            return True
        again = last_closed(load_use_case(name), LABELLING)
    return max(closed) not in computed or written is None or (again is not None and again > written)


@task
def load_metrics(*, params: dict[str, Any]) -> dict[str, list[str]]:
    """Merge what is new on the metrics topic, and the ledger, into the Hive tables, each metric once, however often.

    Returns the days of each table that it has seen metrics of.
    """
    from include.metrics import load_metrics as load
    from include.use_case import load_use_case

    if params.get("from"):
        log.info("Started for the days %s to %s", params["from"], params["to"])
    case = case_now()
    with connected(S3, KAFKA):
        loaded = load(case.name, load_use_case(case.name).target, again=bool(params.get("everything")))
    for table, rows in loaded.inserted.items():
        log.info("%s: %d new rows", table, rows)
    if loaded.rejected:
        log.warning("%d messages were no metrics; the warnings above say where they lie", loaded.rejected)
    return loaded.days()


@task
def read_back_metrics(days: dict[str, list[str]]) -> dict[str, int]:
    """Ask HiveServer2, as an analyst would, for the days that were loaded, and compare with the tables' own rows."""
    from include.metrics import read_back

    use_case = case_now().name
    with connected(S3, HIVE, use_case=use_case):
        seen = read_back(use_case, days)
    for table, rows in seen.items():
        log.info("%s: %d rows through HiveServer2", table, rows)
    return dict(seen)


@task
def maintain(writer: str) -> list[str]:
    """Compact, expire and vacuum a writer's tables, all but what is pinned. The pool keeps the writer away."""
    from include.book import INGEST
    from include.bundle.store import S3Store
    from include.locations import MODELS_BUCKET
    from include.maintenance import maintain as maintain_tables
    from include.maintenance import pinned_versions, read_retention
    from include.settings import S3Settings, SettingError
    from include.tables import tables_by_writer
    from include.use_case import load_use_case

    tables = tables_by_writer(load_use_case(case_now().name))[writer]
    try:
        retention = read_retention(os.environ)
    except SettingError as error:
        raise AirflowFailException(str(error)) from error
    with connected(S3):
        closed = _closed(INGEST)
        newest = date.fromisoformat(max(closed)) if closed else datetime.now(UTC).date()
        pins = pinned_versions(S3Store(S3Settings.from_environment(), MODELS_BUCKET), case_now().name)
        done = [found.words() for found in maintain_tables(case_now().name, tables, pins, retention, newest)]
    for words in done:
        log.info("%s", words)
    return done


@task
def watch_freshness() -> int:
    """Tell about a stale refresh, late and missing days, broken thresholds of quality; how many were new."""
    from deltalake.exceptions import TableNotFoundError

    from include.alerts import tell
    from include.book import INGEST, closed_since
    from include.freshness import (
        broken_thresholds,
        facts_begin,
        gaps,
        last_refresh,
        late_day,
        quality_rows,
        stale_refresh,
    )
    from include.settings import MysqlSettings
    from include.use_case import load_use_case

    now, use_case = datetime.now(UTC), load_use_case(case_now().name)
    # Where an archive ends, it is the first use case's.
    last = DEPLOYMENT.last_day if case_now().is_first else None
    late = timedelta(seconds=DEPLOYMENT.late_limit)
    with connected(S3, MYSQL, use_case=use_case.name):
        closed: dict[str, datetime] = {}
        with suppress(TableNotFoundError):  # the first ingest has not made the tables
            closed = closed_since(use_case, INGEST)
        recent = sorted(closed)[-use_case.serving.recent_days :]
        rows = quality_rows(use_case.name, recent) if recent else []
        begin = facts_begin(closed, use_case.history_start, use_case.history_days)
        alerts = [
            *stale_refresh(
                last_refresh(MysqlSettings.from_environment()), now, timedelta(seconds=DEPLOYMENT.stale_limit)
            ),
            *late_day(closed, now, late, last),
            *gaps(closed, begin, now, late),
            *broken_thresholds(rows, use_case.quality.thresholds),
        ]
        return sum(tell(use_case.name, alert, os.environ, now) for alert in alerts)
