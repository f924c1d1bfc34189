"""One record's way through both layers, on real servers, driven through Airflow's REST API.

Landing files of ten days -> ``ingest_window`` -> ``train_model`` -> ``promote_model`` -> the predictor's answer ->
a day on Kafka while servers are killed -> the same day by ``ingest_raw`` and its asset -> ``load_metrics``, where what
was served equals its recomputation in batch to the bit -> ``refresh_serving`` -> Hive and MySQL. The tests run in
file order: each looks at what one stage left behind.
"""

import html
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import pymysql
import pytest

from include import ledger
from include.bundle.store import S3Store
from include.champion import lineage_of
from include.lake import open_table
from include.locations import MODELS_BUCKET
from include.settings import S3Settings
from local_stack.airflow_api import AirflowApi, now
from local_stack.analyst import query_hive, query_mysql
from tests.e2e.steps import FIRST, LAST, NIGHTLY, USE_CASE, rows, run
from tests.landing_truth import departures_landed, facts_landed

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

KILLS = ("stream@09:00", "predictor@13:00", "kafka@18:00")


def test_a_window_of_days_lands_and_is_ingested(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    feeder = f"include.use_cases.{USE_CASE.name}.feeder"
    span = ["--from", FIRST.isoformat(), "--to", NIGHTLY.isoformat(), "--reference"]
    subprocess.run([sys.executable, "-m", feeder, *span], check=True)
    run(airflow, "ingest_window", {"from": FIRST.isoformat(), "to": LAST.isoformat()})
    book = [row for row in rows(environment, "book", stage="ingest") if row["ds"] <= LAST.isoformat()]
    assert len(book) == 10 * len(USE_CASE.sources)
    assert all(row["closed"] for row in book)
    assert all(row["landed"] == row["ingested"] + row["quarantined"] + row["duplicate"] for row in book)
    assert sum(row["landed"] for row in book if row["source"] == USE_CASE.subject_source) > 7000


def test_a_model_is_trained_promoted_and_served(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    started = now()
    airflow.wait_for_dag("promote_model")
    airflow.unpause("promote_model")
    run(airflow, "train_model", {"trials": 2, "epochs": 4})
    run_id = airflow.wait_for_triggered_run("promote_model", started)
    airflow.follow("promote_model", run_id, 600)
    token = {"Authorization": f"Bearer {environment['PREDICTOR_TOKEN']}"}
    url = f"{environment['PREDICTOR_URL']}/v1/{USE_CASE.name}"
    model = httpx.get(f"{url}/model", headers=token, timeout=60).json()
    answer = httpx.post(f"{url}/predict", headers=token, json={"subjects": [subject(environment)]}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_id"] == model["model_id"]
    assert 0.0 < answer.json()["predictions"][0]["probability"] < 1.0
    assert not answer.json()["predictions"][0]["degraded"]


def test_a_person_is_asked_where_that_is_wanted(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    store = S3Store(S3Settings.from_environment(environment), MODELS_BUCKET)
    champion = ledger.champion(store, USE_CASE.name)
    assert champion is not None
    run_id = airflow.trigger("promote_model", {"model_id": champion.model_id, "approval": True})
    asked = airflow.respond("promote_model", run_id, "approve", "Approve", {"comment": "looks well"})
    assert champion.model_id[:12] in asked["subject"] and "champion already" in asked["body"]
    airflow.follow("promote_model", run_id, 300)
    answer = airflow.xcom("promote_model", run_id, "approve")
    assert answer["responded_by_user"]["name"] == environment["AIRFLOW_USER"]
    assert ledger.champion(store, USE_CASE.name) == champion


def subject(environment: Mapping[str, str]) -> dict[str, Any]:
    names = [field.name for field in USE_CASE.subject.fields if field.name != "prediction_time"]
    source = f"raw_{USE_CASE.subject_source}"
    # Announced a day ahead: what became known the day before departs on the last day that is published.
    known = (LAST - timedelta(days=1)).isoformat()
    facts = sorted(rows(environment, source, ds=known), key=lambda row: row[USE_CASE.subject_time])
    found = {name: facts[len(facts) // 2][name] for name in names}
    return {name: f"{v:%Y-%m-%dT%H:%M:%SZ}" if isinstance(v, datetime) else v for name, v in found.items()}


def test_a_day_is_served_while_every_server_is_killed_once() -> None:
    command = [sys.executable, "-m", "local_stack.replay", "--from", NIGHTLY.isoformat(), "--to", NIGHTLY.isoformat()]
    kills = [word for kill in KILLS for word in ("--kill", kill)]
    shares = ("--duplicates", "0.02", "--bad", "0.01", "--late", "0.01", "--step-minutes", "60")
    done = subprocess.run([*command, *kills, *shares], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.count("kill -9") == len(KILLS)


def test_a_nightly_day_follows_through_its_assets(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    started = now()
    run(airflow, "ingest_raw", key=NIGHTLY.isoformat())
    run_id = airflow.wait_for_triggered_run("preprocess_features", started, partition_key=NIGHTLY.isoformat())
    airflow.follow("preprocess_features", run_id, 600)
    assert rows(environment, "features", ds=NIGHTLY.isoformat())
    closed = (NIGHTLY - timedelta(days=USE_CASE.label_horizon_days)).isoformat()
    assert rows(environment, "labels", ds=closed)
    assert not rows(environment, "labels", ds=NIGHTLY.isoformat()), "a day's labels must not close before its horizon"
    loads = airflow.wait_for_triggered_run("load_metrics", started, by="preprocess_features")
    airflow.follow("load_metrics", loads, 600)


def test_what_was_served_equals_batch(environment: Mapping[str, str]) -> None:
    ds = NIGHTLY.isoformat()
    served = f"select count(*), count(distinct id) from predictions where ds = '{ds}' and via = 'kafka'"
    answers, subjects = query_hive(environment, served)[0]
    assert answers == subjects > 500
    parity = f"select value from data_quality where ds = '{ds}' and source = 'predictions' and dimension = 'parity'"
    assert [value for (value,) in query_hive(environment, parity)] == [1.0]


def test_metrics_reach_hive_exactly_once(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    once = query_hive(environment, "select count(*), count(distinct metric_id) from training_runs")[0]
    run(airflow, "load_metrics")
    twice = query_hive(environment, "select count(*), count(distinct metric_id) from training_runs")[0]
    assert once == twice
    assert once[0] == once[1] >= 2
    roles = query_hive(environment, "select distinct role from model_quality where split = 'test'")
    assert {role for (role,) in roles} >= {"candidate", "base_rate", "lightgbm"}


def test_airflow_has_a_page_of_what_was_decided(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    assert httpx.get(f"{environment['AIRFLOW_URL']}/lambda-dl/", timeout=60).status_code == 401
    champion = ledger.champion(S3Store(S3Settings.from_environment(environment), MODELS_BUCKET), USE_CASE.name)
    assert champion is not None
    page = airflow.page("/lambda-dl/")
    assert champion.model_id in page and champion.reason[:20] in html.unescape(page)
    assert "All balance." in page and NIGHTLY.isoformat() in page
    (answer,) = query_hive(environment, f"select id from predictions where ds = '{NIGHTLY.isoformat()}' limit 1")
    traced = airflow.page(f"/lambda-dl/lineage?prediction={answer[0]}")
    assert f"model {champion.model_id}" in traced and "landing files" in traced
    assert "is logged: the id is the subject" in html.unescape(airflow.page("/lambda-dl/lineage?prediction=nobody"))


def test_analysts_read_recent_days_from_mysql(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    run(airflow, "refresh_serving")
    events, runs = query_mysql(environment, "select count(*), count(distinct run_id) from recent_events")[0]
    days = query_mysql(environment, "select count(*) from daily_stats")[0][0]
    assert events > 0
    assert runs == 1
    assert days > 0
    shown = query_mysql(environment, f"select count(*) from recent_predictions where ds = '{NIGHTLY.isoformat()}'")
    assert shown[0][0] > 500
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        query_mysql(environment, "delete from recent_events")


def test_landing_files_hive_and_mysql_tell_the_same_numbers(environment: Mapping[str, str]) -> None:
    closed = [FIRST + timedelta(days=number) for number in range((NIGHTLY - FIRST).days + 1)]
    truth = facts_landed(USE_CASE, closed)
    sources = [contract.name for contract in USE_CASE.sources]
    accepted = " union all ".join(f"select '{name}', ds, count(*) from raw_{name} group by ds" for name in sources)
    hive = {(source, ds): count for source, ds, count in query_hive(environment, accepted)}
    quarantined = accepted.replace("from raw_", "from quarantine_")
    for source, ds, count in query_hive(environment, quarantined):
        truth[(source, ds)] -= count
    assert hive == {key: count for key, count in truth.items() if count}
    shown = query_mysql(environment, "select source, ds, count(*) from recent_events group by source, ds")
    days = {ds for _, ds, _ in shown}
    assert len(days) == USE_CASE.serving.recent_days
    assert {(s, ds): n for s, ds, n in shown} == {key: n for key, n in hive.items() if key[1] in days}
    # Rates too: late departures of each day by its own facts, straight from the landing files
    statement = "select ds, sum(departed), sum(departed_late) from daily_stats group by ds"
    assert {ds: (int(n), int(late)) for ds, n, late in query_mysql(environment, statement)} == (
        departures_landed(USE_CASE, days)
    )
    by_day = "select ds, count(*), sum(if(departure_delay > 15, 1, 0)) from raw_departures group by ds"
    assert {ds: (n, late) for ds, n, late in query_hive(environment, by_day)} == (
        departures_landed(USE_CASE, [day.isoformat() for day in closed])
    )


def test_what_the_champion_pins_is_there_after_maintenance(airflow: AirflowApi, environment: Mapping[str, str]) -> None:
    store = S3Store(S3Settings.from_environment(environment), MODELS_BUCKET)
    champion = ledger.champion(store, USE_CASE.name)
    assert champion is not None
    version = lineage_of(store, USE_CASE.name, champion.model_id)["tables"]["features"]
    before = open_table(USE_CASE.name, "features", version=version).to_pyarrow_dataset().count_rows()
    run(airflow, "maintain_tables")
    assert open_table(USE_CASE.name, "features", version=version).to_pyarrow_dataset().count_rows() == before > 0


def test_the_champion_comes_out_of_its_lineage_again(environment: Mapping[str, str]) -> None:
    store = S3Store(S3Settings.from_environment(environment), MODELS_BUCKET)
    champion = ledger.champion(store, USE_CASE.name)
    assert champion is not None
    command = [sys.executable, "-m", "include.training.again", champion.model_id]
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"model {champion.model_id} trained again" in again.stdout
