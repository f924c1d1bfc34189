"""Airflow connections become the environment that include.settings reads."""

import json

import pytest
from airflow.sdk import Connection

from include.settings import HiveSettings, KafkaSettings, MysqlSettings, S3Settings
from lambda_dl import connections
from lambda_dl.connections import ConnectionIncomplete, environment_from, url_of

GIVEN = {
    connections.S3: Connection(
        conn_id="s3", conn_type="aws", login="key", password="secret", extra='{"endpoint_url": "http://127.0.0.1:1"}'
    ),
    connections.KAFKA: Connection(conn_id="k", conn_type="kafka", extra='{"bootstrap.servers": "127.0.0.1:2"}'),
    connections.MYSQL: Connection(
        conn_id="m", conn_type="mysql", host="db", port=3, login="batch", password="pw", schema="serving"
    ),
    connections.HIVE: Connection(conn_id="h", conn_type="hiveserver2", host="hive", port=4, login="analyst"),
    connections.METASTORE: Connection(conn_id="ms", conn_type="hive_metastore", host="meta", port=5),
    connections.RAY: Connection(conn_id="r", conn_type="http", host="ray", port=6, password="token"),
    connections.PREDICTOR: Connection(conn_id="p", conn_type="http", host="https://p.example", password="other"),
}


def test_every_setting_of_include_is_given() -> None:
    environment = environment_from(GIVEN)
    assert S3Settings.from_environment(environment).secret_key == "secret"
    assert KafkaSettings.from_environment(environment).bootstrap == "127.0.0.1:2"
    assert MysqlSettings.from_environment(environment).port == 3
    assert HiveSettings.from_environment(environment).database == "flight_delay"
    assert environment["METASTORE_URI"] == "thrift://meta:5"
    assert (environment["RAY_ADDRESS"], environment["RAY_AUTH_TOKEN"]) == ("http://ray:6", "token")
    assert environment["PREDICTOR_URL"] == "https://p.example"


def test_another_use_case_has_databases_of_its_own() -> None:
    first, other = environment_from(GIVEN), environment_from(GIVEN, "fraud")
    assert (first["MYSQL_DATABASE"], other["MYSQL_DATABASE"]) == ("serving", "fraud")
    assert (first["HIVE_DATABASE"], other["HIVE_DATABASE"]) == ("flight_delay", "fraud")
    names = {"MYSQL_DATABASE", "HIVE_DATABASE"}
    assert {name: value for name, value in other.items() if name not in names}.items() <= first.items()


def test_an_incomplete_connection_is_named_and_its_secret_is_not_shown() -> None:
    half = Connection(conn_id="s3", conn_type="aws", password="secret", extra='{"endpoint_url": "http://x"}')
    with pytest.raises(ConnectionIncomplete, match="lambda_dl_s3.*S3_ACCESS_KEY") as caught:
        environment_from({connections.S3: half})
    assert "secret" not in str(caught.value).replace("S3_SECRET", "")


def test_an_address_keeps_its_scheme() -> None:
    assert url_of(Connection(conn_id="a", conn_type="http", schema="https", host="ray", port=1)) == "https://ray:1"


def kafka(extra: dict[str, str]) -> Connection:
    return Connection(conn_id="k", conn_type="kafka", extra=json.dumps(extra))


def test_a_kafka_that_asks_for_a_password() -> None:
    extra = {
        "bootstrap.servers": "b:9096",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "lambda",
        "sasl.password": "secret",
        "ssl.ca.location": "/etc/ca.pem",
    }
    environment = environment_from({connections.KAFKA: kafka(extra)})
    assert KafkaSettings.from_environment(environment).client() == extra
    # Ray writes a job's environment into its logs.
    assert {name for name, value in environment.items() if value == "secret"} <= connections.CREDENTIALS


def test_the_mechanism_has_two_names() -> None:
    extra = {
        "bootstrap.servers": "b:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "PLAIN",
        "sasl.username": "key",
        "sasl.password": "secret",
    }
    settings = KafkaSettings.from_environment(environment_from({connections.KAFKA: kafka(extra)}))
    assert settings.mechanism == "PLAIN"


def test_a_store_that_a_role_signs_in_to() -> None:
    extra = {"endpoint_url": "https://s3.eu-central-1.amazonaws.com", "credentials": "role"}
    given = Connection(conn_id="s3", conn_type="aws", login="ignored", extra=json.dumps(extra))
    assert S3Settings.from_environment(environment_from({connections.S3: given})).keys is None
