"""Python tasks of the DAGs by which people undo a mistake: they read the form, call ``include`` and log the outcome.

A refusal is the answer to what was asked and is not tried again; a system that is away is. ``include``'s modules are
imported when a task runs, so that parsing a DAG stays quick.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException

from lambda_dl.actor import actor_of
from lambda_dl.cases import Case, case_now
from lambda_dl.connections import KAFKA, MYSQL, S3, connected
from lambda_dl.operators.derive_days import runs_for
from lambda_dl.span import span_of_run

log = logging.getLogger(__name__)


#: What the form calls an action, and the event that it appends.
EVENTS: Mapping[str, Literal["retracted", "restored"]] = {"retract": "retracted", "restore": "restored"}


@contextmanager
def refusals_fail() -> Iterator[None]:
    """Turn a refusal into a failure that is not tried again."""
    from include.retraction import RetractionRefused
    from include.rollback import RollbackRefused

    try:
        yield
    except (RetractionRefused, RollbackRefused) as error:
        raise AirflowFailException(str(error)) from error


def reason_field(description: str) -> Param:
    """The form field for why somebody does this; it must be filled in, since it is what others will read."""
    return Param(type="string", minLength=1, maxLength=500, title="Reason", description=description)


def source_field(case: Case, description: str) -> Param:
    """The form field for a source of the use case, as a list to choose from."""
    from include.use_case import load_use_case

    names = [contract.name for contract in load_use_case(case.name).sources]
    return Param(type="string", enum=names, title="Source", description=description)


def dry_run_field(description: str) -> Param:
    """The form field that makes a run only look; looking is the default."""
    return Param(True, type="boolean", title="Dry run", description=description)


@task
def roll_back(*, params: dict[str, Any], run_id: str, dag_run: Any) -> dict[str, Any]:
    """Append the ledger's next line, which names an earlier champion, and broadcast it."""
    from include.rollback import Request
    from include.rollback import roll_back as roll_back_to

    return _to_earlier(roll_back_to, Request(params.get("model_id"), params["reason"], actor_of(dag_run), run_id))


def _to_earlier(decide: Any, request: Any) -> dict[str, Any]:
    """Let ``include.rollback`` decide by the ledger and by what is withdrawn now; what came of it, for XCom."""
    from include.broadcast import announcer
    from include.bundle.store import S3Store
    from include.locations import MODELS_BUCKET
    from include.retraction import touched_by_now
    from include.settings import KafkaSettings, S3Settings
    from include.training.dataset import Tables
    from include.use_case import load_use_case

    use_case = load_use_case(case_now().name)
    with connected(S3, KAFKA), refusals_fail():
        s3 = S3Settings.from_environment()
        touched = touched_by_now(Tables.on_s3(use_case.name, s3), use_case)
        announce = announcer(KafkaSettings.from_environment())
        outcome = decide(S3Store(s3, MODELS_BUCKET), announce, use_case, touched, request)
    log.info("%s: %s; asked for by %s", outcome.model_id, "; ".join(outcome.reasons), request.actor)
    return {**asdict(outcome), "reasons": list(outcome.reasons)}


@task.short_circuit
def unless_dry_run(*, params: dict[str, Any]) -> bool:
    """Skip the rest of a run that was only to look."""
    return not params["dry_run"]


@task
def days_released(*, params: dict[str, Any], run_id: str, dag_run: Any) -> list[dict[str, Any]]:
    """The runs that derive again what depends on the facts that this run has released; none if it released none."""
    from include import lake
    from include.impact import ranges_to_derive
    from include.use_case import load_use_case

    source = params["source"]
    days = span_of_run({"dag_run": dag_run, "params": params}).partition_keys()
    with connected(S3):
        released = lake.count_by(case_now().name, f"raw_{source}", ["ds", "run_id"], days)
        found = {date.fromisoformat(ds): count for (ds, run), count in released.items() if run == run_id}
        spans = ranges_to_derive(load_use_case(case_now().name), source, found)
    log.info("released: %s", {day.isoformat(): count for day, count in sorted(found.items())} or "nothing")
    for first, last in spans:
        log.info("to be derived again: %s to %s", first, last)
    return runs_for(spans, dag_run.dag_id, run_id)


@task
def list_blast_radius(*, params: dict[str, Any], run_id: str) -> dict[str, Any]:
    """List what depends on the day: files, days, rows in Hive and MySQL, models and the predictions they served."""
    from include.blast_radius import blast_radius
    from include.bundle.store import S3Store
    from include.impact import derivable_now
    from include.locations import MODELS_BUCKET
    from include.retraction import choose
    from include.settings import MysqlSettings, S3Settings
    from include.training.dataset import Tables
    from include.use_case import load_use_case

    use_case, day = load_use_case(case_now().name), date.fromisoformat(params["ds"])
    with connected(S3, MYSQL, use_case=use_case.name), refusals_fail():
        s3 = S3Settings.from_environment()
        tables = Tables.on_s3(use_case.name, s3)
        now, event = datetime.now(UTC), EVENTS[params["action"]]
        found = choose(tables, use_case, event, params["source"], day, run_id, now, params["file"] or "")
        models, mysql = S3Store(s3, MODELS_BUCKET), MysqlSettings.from_environment()
        radius = blast_radius(tables, models, mysql, use_case, found, derivable_now(use_case))
    for line in radius.lines():
        log.info("%s", line)
    return radius.to_json()


@task
def record_tombstones(*, params: dict[str, Any], run_id: str, dag_run: Any) -> list[dict[str, Any]]:
    """Append the events; returns the runs that derive again what depended on the day."""
    from include.impact import ranges_to_derive
    from include.retraction import choose, record
    from include.settings import S3Settings
    from include.training.dataset import Tables
    from include.use_case import load_use_case

    use_case, day = load_use_case(case_now().name), date.fromisoformat(params["ds"])
    event, source, actor = EVENTS[params["action"]], params["source"], actor_of(dag_run)
    now = datetime.now(UTC)
    with connected(S3), refusals_fail():
        tables = Tables.on_s3(use_case.name, S3Settings.from_environment())
        found = choose(tables, use_case, event, source, day, run_id, now, params["file"] or "")
        record(use_case.name, found, event, params["reason"], actor, run_id, now)
        spans = ranges_to_derive(use_case, source, [day])
    log.info("%s of %s: %d files %s by %s: %s", source, day, len(found), event, actor, params["reason"])
    for first, last in spans:
        log.info("to be derived again: %s to %s", first, last)
    return runs_for(spans, dag_run.dag_id, run_id)


@task
def demote_champion(*, params: dict[str, Any], run_id: str, dag_run: Any) -> dict[str, Any]:
    """Roll back from a champion that was trained on withdrawn facts to the best one that was not."""
    from include.rollback import Request, demote

    return _to_earlier(demote, Request(None, params["reason"], actor_of(dag_run), run_id))
