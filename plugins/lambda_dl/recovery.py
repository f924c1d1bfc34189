"""Python tasks of the DAGs by which people undo a mistake: they read the form, call ``include`` and log the outcome.

A refusal is the answer to what was asked and is not tried again; a system that is away is. ``include``'s modules are
imported when a task runs, so that parsing a DAG stays quick.
"""

import logging
from dataclasses import asdict
from typing import Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException

from lambda_dl.actor import actor_of
from lambda_dl.connections import KAFKA, S3, connected
from lambda_dl.deployment import USE_CASE

log = logging.getLogger(__name__)


def reason_field(description: str) -> Param:
    """The form field for why somebody does this; it must be filled in, since it is what others will read."""
    return Param(type="string", minLength=1, maxLength=500, title="Reason", description=description)


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
