"""Python tasks of the DAGs by which people undo a mistake: they read the form, call ``include`` and log the outcome.

A refusal is the answer to what was asked and is not tried again; a system that is away is. ``include``'s modules are
imported when a task runs, so that parsing a DAG stays quick.
"""

import logging
from dataclasses import asdict
from datetime import date
from typing import Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException

from lambda_dl.actor import actor_of
from lambda_dl.connections import KAFKA, S3, connected
from lambda_dl.deployment import USE_CASE
from lambda_dl.operators.derive_days import runs_for
from lambda_dl.span import span_of_run

log = logging.getLogger(__name__)


def reason_field(description: str) -> Param:
    """The form field for why somebody does this; it must be filled in, since it is what others will read."""
    return Param(type="string", minLength=1, maxLength=500, title="Reason", description=description)


def source_field(description: str) -> Param:
    """The form field for a source of the use case, as a list to choose from."""
    from include.use_case import load_use_case

    names = [contract.name for contract in load_use_case(USE_CASE).sources]
    return Param(type="string", enum=names, title="Source", description=description)


def dry_run_field(description: str) -> Param:
    """The form field that makes a run only look; looking is the default."""
    return Param(True, type="boolean", title="Dry run", description=description)


@task
def roll_back(*, params: dict[str, Any], run_id: str, dag_run: Any) -> dict[str, Any]:
    """Append the ledger's next line, which names an earlier champion, and broadcast it."""
    from include.broadcast import announcer
    from include.bundle.store import S3Store
    from include.locations import MODELS_BUCKET
    from include.rollback import Request, RollbackRefused
    from include.rollback import roll_back as roll_back_to
    from include.settings import KafkaSettings, S3Settings
    from include.use_case import load_use_case

    request = Request(params.get("model_id"), params["reason"], actor_of(dag_run), run_id)
    with connected(S3, KAFKA):
        models = S3Store(S3Settings.from_environment(), MODELS_BUCKET)
        announce = announcer(KafkaSettings.from_environment())
        try:
            outcome = roll_back_to(models, announce, load_use_case(USE_CASE), request)
        except RollbackRefused as error:
            raise AirflowFailException(str(error)) from error
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
        released = lake.count_by(USE_CASE, f"raw_{source}", ["ds", "run_id"], days)
        found = {date.fromisoformat(ds): count for (ds, run), count in released.items() if run == run_id}
        spans = ranges_to_derive(load_use_case(USE_CASE), source, found)
    log.info("released: %s", {day.isoformat(): count for day, count in sorted(found.items())} or "nothing")
    for first, last in spans:
        log.info("to be derived again: %s to %s", first, last)
    return runs_for(spans, dag_run.dag_id, run_id)
