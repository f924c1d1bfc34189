"""A rollback by its form, through Airflow: the ledger names who and why, and the predictor confirms and serves it."""

import os
import time
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from include.broadcast import announcer
from include.bundle.store import DirectoryStore, S3Store
from include.ledger import Entry, announcement, append, read_ledger
from include.locations import MODELS_BUCKET, Topics
from include.settings import KafkaSettings, S3Settings
from local_stack.airflow_api import AirflowApi
from tests.e2e.steps import USE_CASE
from tests.speed_service.conftest import make_bundle

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

LINE = Entry(1, "2013-01-01T00:00:00.000Z", "promoted", "", None, "test", "a test promotes it", "test-rollback")


def served(url: str | None = None) -> dict[str, Any]:
    """What the service at ``url`` serves, by default the first."""
    token = {"Authorization": f"Bearer {os.environ['PREDICTOR_TOKEN']}"}
    url = url or os.environ["PREDICTOR_URL"]
    answer = httpx.get(f"{url}/v1/{USE_CASE.name}/model", headers=token, timeout=60)
    return dict(answer.json()) if answer.status_code == 200 else {}


def wait_until_served(model_id: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while served().get("model_id") != model_id:
        assert time.monotonic() < end, f"{model_id} is not served: {served()}"
        time.sleep(0.5)


def test_the_form_puts_the_former_champion_back(airflow: AirflowApi) -> None:
    store = S3Store(S3Settings.from_environment(), MODELS_BUCKET)
    announce = announcer(KafkaSettings.from_environment())
    # A bundle of random weights takes the place of whoever is champion on this stack.
    for seed in (101, 102):
        ledger = read_ledger(store, USE_CASE.name)
        parent = ledger[-1].model_id if ledger else None
        model_id = make_bundle(cast(DirectoryStore, store), USE_CASE, seed)
        line = replace(LINE, sequence=len(ledger) + 1, model_id=model_id, parent_id=parent)
        announce(Topics(USE_CASE.name).models, [announcement(USE_CASE.name, append(store, USE_CASE.name, line))])
    wait_until_served(model_id)

    airflow.wait_for_dag("rollback_model")
    airflow.unpause("rollback_model")
    run_id = airflow.trigger("rollback_model", {"reason": "its weights are random"})
    airflow.follow("rollback_model", run_id, 300)
    head = read_ledger(store, USE_CASE.name)[-1]
    assert (head.event, head.model_id, head.parent_id) == ("rolled_back", line.parent_id, model_id)
    assert (head.actor, head.reason, head.run_id) == (os.environ["AIRFLOW_USER"], "its weights are random", run_id)
    # Each service gives a receipt of its own and the DAG waits for the first: who gave one serves the model already.
    receipts = airflow.xcom("rollback_model", run_id, "wait_for_receipt")
    services = os.environ["PREDICTOR_URLS"].split(",")
    assert 1 <= len({receipt["instance"] for receipt in receipts}) == len(receipts) <= len(services)
    assert {(receipt["kind"], receipt["sequence"]) for receipt in receipts} == {("model_loaded", head.sequence)}
    assert [served(url)["model_id"] for url in services].count(head.model_id) >= len(receipts)
