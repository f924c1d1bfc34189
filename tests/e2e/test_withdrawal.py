"""A day of a source withdrawn by the form of ``retract_day``: what is derived goes and the champion too, raw stays.

After the rollback: its gate would refuse a model that may have learned from the withdrawn file. That a restored day is
as it was before is asked in ``tests/spark_jobs/test_undo_on_servers.py``.
"""

from collections.abc import Mapping

import pytest

from include import ledger
from include.bundle.store import S3Store
from include.champion import lineage_of
from include.locations import MODELS_BUCKET
from include.settings import S3Settings
from local_stack.airflow_api import AirflowApi
from local_stack.analyst import query_hive
from tests.e2e.steps import NIGHTLY, USE_CASE, rows, run

pytestmark = [pytest.mark.integration, pytest.mark.e2e]


def of_unknown_days(store: S3Store) -> set[str]:
    """Those models of the ledger whose lineage names no days (``test_rollback`` makes some): they may have seen any."""
    lineage = {
        line.model_id: lineage_of(store, USE_CASE.name, line.model_id)
        for line in ledger.read_ledger(store, USE_CASE.name)
    }
    assert any("split" in found for found in lineage.values())
    return {model_id for model_id, found in lineage.items() if "split" not in found}


def test_the_form_withdraws_a_day(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    ds = NIGHTLY.isoformat()
    form = {"source": "weather", "ds": ds, "action": "retract", "reason": "a station was moved"}
    store = S3Store(S3Settings.from_environment(environment), MODELS_BUCKET)
    dry = run(airflow, "retract_day", {**form, "dry_run": True})
    radius = airflow.xcom("retract_day", dry, "list_blast_radius")
    assert len(radius["files"]) == 1
    seen_by = {model["model_id"] for model in radius["models"]}
    assert seen_by == of_unknown_days(store), "the trained model has not seen that day"
    assert rows(environment, "tiles", ds=ds, tile="weather_by_origin")
    airflow.unpause("ingest_window")
    airflow.pause("load_metrics")  # the figures that follow a preprocessing are asked for in test_both_layers
    run(airflow, "retract_day", {**form, "dry_run": False})
    assert not rows(environment, "tiles", ds=ds, tile="weather_by_origin")
    assert query_hive(environment, "select count(*) from retracted_files")[0][0] == len(radius["files"])
    assert len(rows(environment, "raw_weather", ds=ds)) == radius["rows"]["raw_weather"] > 0, "raw keeps the facts"
    champion = ledger.champion(store, USE_CASE.name)
    assert champion is not None and champion.model_id not in seen_by, "the nearest earlier one that has not seen it"
    dry = run(airflow, "retract_day", {**form, "action": "restore", "dry_run": True})
    back = airflow.xcom("retract_day", dry, "list_blast_radius")
    assert back["files"] == radius["files"], "what a restore would bring back"
