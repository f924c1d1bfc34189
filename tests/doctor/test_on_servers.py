"""Each fault provoked on the real server that it is about, and what the doctor says of it."""

import os
from collections.abc import Mapping

import pytest

from include.doctor import stores, warehouse
from include.doctor.finding import Check, Finding, examined
from include.doctor.services import check_airflow, check_predictor, check_ray
from include.doctor.stores import check_kafka, check_mysql, check_s3
from include.doctor.warehouse import check_hiveserver2, check_metastore, check_spark

pytestmark = pytest.mark.integration
WELL: Mapping[str, Check] = {
    "s3": check_s3,
    "kafka": check_kafka,
    "mysql": check_mysql,
    "metastore": check_metastore,
    "hiveserver2": check_hiveserver2,
    "ray": check_ray,
    "predictor": check_predictor,
    "airflow": check_airflow,
}
#: A port of loopback where nothing listens.
NOBODY = "127.0.0.1:1"


def found(check: Check, **changes: str) -> list[Finding]:
    return list(examined(check, {**os.environ, **changes}))


def wrong(check: Check, **changes: str) -> str:
    """The one thing that is wrong under changed settings."""
    (finding,) = (finding for finding in found(check, **changes) if not finding.is_well)
    return f"{finding.what} -> {finding.do}"


@pytest.mark.parametrize("system", WELL)
def test_nothing_is_wrong_with_a_stack_that_runs(system: str) -> None:
    findings = found(WELL[system])
    assert findings
    assert [finding for finding in findings if not finding.is_well] == []


def test_nothing_is_wrong_with_spark() -> None:
    assert all(finding.is_well for finding in found(check_spark))


def test_s3_wrong_key_wrong_secret_read_only_key_and_missing_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not know the access key UNKNOWN" in wrong(check_s3, S3_ACCESS_KEY="UNKNOWN")
    assert "secret key does not fit" in wrong(check_s3, S3_SECRET_KEY="another")
    reading = {name: os.environ[f"PREDICTOR_{name}"] for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY")}
    assert "may not list bucket landing" in wrong(check_s3, **reading)
    monkeypatch.setattr(stores, "LANDING_BUCKET", "models")
    assert "may not write to bucket models" in wrong(check_s3, **reading)
    monkeypatch.setattr(stores, "LAKE_BUCKET", "not-there")
    assert "bucket not-there is missing -> create bucket not-there" in wrong(check_s3)


@pytest.mark.parametrize(
    ("check", "setting", "value"),
    [
        (check_s3, "S3_ENDPOINT", f"http://{NOBODY}"),
        (check_kafka, "KAFKA_BOOTSTRAP", NOBODY),
        (check_mysql, "MYSQL_PORT", "1"),
        (check_metastore, "METASTORE_URI", f"thrift://{NOBODY}"),
        (check_hiveserver2, "HIVE_PORT", "1"),
        (check_spark, "SPARK_MASTER", f"spark://{NOBODY}"),
        (check_ray, "RAY_ADDRESS", f"http://{NOBODY}"),
        (check_predictor, "PREDICTOR_URL", f"http://{NOBODY}"),
        (check_airflow, "AIRFLOW_URL", f"http://{NOBODY}"),
    ],
)
def test_where_nobody_listens_the_setting_is_named(check: Check, setting: str, value: str) -> None:
    said = wrong(check, **{setting: value})
    assert "nobody listens at 127.0.0.1:1" in said
    assert setting in said


def test_a_broker_that_is_away_is_named_and_the_others_are_asked() -> None:
    both = f"{os.environ['KAFKA_BOOTSTRAP']},{NOBODY}"
    assert "nobody listens at 127.0.0.1:1" in wrong(check_kafka, KAFKA_BOOTSTRAP=both)
    assert len(found(check_kafka, KAFKA_BOOTSTRAP=both)) > 1


def test_kafka_missing_and_uncompacted_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = "flight_delay.departures"
    monkeypatch.setattr(stores, "wanted_topics", lambda name: ([facts, "not.there"], [facts]))
    said = [finding.what for finding in found(check_kafka) if not finding.is_well]
    assert said[0] == "topics are missing: not.there"
    assert said[1].startswith(f"topic {facts} has cleanup.policy=delete")


def test_what_is_no_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "METADATA_SECONDS", 1.0)
    other = f"{os.environ['MYSQL_HOST']}:{os.environ['MYSQL_PORT']}"
    assert "gives no metadata" in wrong(check_kafka, KAFKA_BOOTSTRAP=other)


def test_mysql_wrong_password_database_and_grants() -> None:
    assert "refuses user lambda_batch with this password" in wrong(check_mysql, MYSQL_PASSWORD="another")
    assert "no database other_db" in wrong(check_mysql, MYSQL_DATABASE="other_db")
    analyst = {"MYSQL_USER": "analyst", "MYSQL_PASSWORD": os.environ["MYSQL_ANALYST_PASSWORD"]}
    assert "analyst lacks the right to CREATE" in wrong(check_mysql, **analyst)
    batch = {"MYSQL_ANALYST_USER": "lambda_batch", "MYSQL_ANALYST_PASSWORD": os.environ["MYSQL_PASSWORD"]}
    assert "the analysts' account lambda_batch may change" in wrong(check_mysql, **batch)


def test_what_is_no_metastore_and_no_hiveserver2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse, "THRIFT_SECONDS", 1)
    mysql = os.environ["MYSQL_PORT"]
    assert "does not answer as a HiveServer2" in wrong(check_hiveserver2, HIVE_PORT=mysql)
    other = os.environ["S3_ENDPOINT"].replace("http", "thrift")
    assert "does not answer as a metastore" in wrong(check_metastore, METASTORE_URI=other)


def test_wrong_tokens_and_passwords() -> None:
    assert "Ray refuses this token" in wrong(check_ray, RAY_AUTH_TOKEN="another")
    assert "the predictor refuses this token" in wrong(check_predictor, PREDICTOR_TOKEN="another-token-of-length")
    assert "Airflow refuses user admin" in wrong(check_airflow, AIRFLOW_PASSWORD="another")


def test_another_use_case_than_the_predictor_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not serve use case other" in wrong(check_predictor, LAMBDA_DL_USE_CASE="other")
