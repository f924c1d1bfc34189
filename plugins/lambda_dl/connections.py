"""Airflow connections -> the environment that ``include.settings`` reads. The only place that does so.

A cluster changes the connections and nothing else. The result holds secrets: it goes into a process's environment,
never into an argument, a template field, a log or XCom.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from include.settings import ROLE
from lambda_dl.deployment import DEPLOYMENT

S3 = "lambda_dl_s3"
KAFKA = "lambda_dl_kafka"
MYSQL = "lambda_dl_mysql"
HIVE = "lambda_dl_hive"
METASTORE = "lambda_dl_metastore"
SPARK = "lambda_dl_spark"
RAY = "lambda_dl_ray"
PREDICTOR = "lambda_dl_predictor"
#: The connections that the batch layer's programs need; Spark's master is the operator's own affair.
ALL = (S3, KAFKA, MYSQL, HIVE, METASTORE, RAY, PREDICTOR)


#: Variables that sign somebody in: for a process that this one starts, never for a message to another system.
CREDENTIALS = frozenset(
    {"S3_ACCESS_KEY", "S3_SECRET_KEY", "MYSQL_PASSWORD", "RAY_AUTH_TOKEN", "PREDICTOR_TOKEN", "KAFKA_SASL_PASSWORD"}
)


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here."""

    host: str | None
    port: int | None
    login: str | None
    password: str | None
    schema: str | None

    @property
    def extra_dejson(self) -> Any:
        """The connection's extra, parsed."""


class ConnectionIncomplete(ValueError):
    """A connection lacks a field; the message names both."""


def url_of(connection: ConnectionFields) -> str:
    """The base address of an HTTP connection, without a slash at its end."""
    host = (connection.host or "").rstrip("/")
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


def _s3(connection: ConnectionFields) -> dict[str, Any]:
    extra = connection.extra_dejson
    by_role = extra.get("credentials") == ROLE
    keys = {"S3_ACCESS_KEY": connection.login, "S3_SECRET_KEY": connection.password}
    return {
        "S3_ENDPOINT": extra.get("endpoint_url"),
        **({"S3_CREDENTIALS": ROLE} if by_role else keys),
        "S3_REGION": extra.get("region_name") or "us-east-1",
    }


#: The connection's extra has the names of librdkafka: Airflow's own Kafka hook and our trigger pass it on as it is. It
#: knows the mechanism by two names.
KAFKA_EXTRA = {
    "security.protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl.mechanisms": "KAFKA_SASL_MECHANISM",
    "sasl.mechanism": "KAFKA_SASL_MECHANISM",
    "sasl.username": "KAFKA_SASL_USERNAME",
    "sasl.password": "KAFKA_SASL_PASSWORD",
    "ssl.ca.location": "KAFKA_SSL_CA",
}


def _kafka(connection: ConnectionFields) -> dict[str, Any]:
    extra = connection.extra_dejson
    signing = {name: extra[key] for key, name in KAFKA_EXTRA.items() if key in extra}
    return {"KAFKA_BOOTSTRAP": extra.get("bootstrap.servers"), **signing}


def _mysql(connection: ConnectionFields) -> dict[str, Any]:
    return {
        "MYSQL_HOST": connection.host,
        "MYSQL_PORT": connection.port,
        "MYSQL_DATABASE": connection.schema,
        "MYSQL_USER": connection.login,
        "MYSQL_PASSWORD": connection.password,
    }


def _hive(connection: ConnectionFields) -> dict[str, Any]:
    return {
        "HIVE_HOST": connection.host,
        "HIVE_PORT": connection.port,
        "HIVE_USER": connection.login,
    }


def _metastore(connection: ConnectionFields) -> dict[str, Any]:
    return {"METASTORE_URI": f"thrift://{connection.host}:{connection.port}"}


def _ray(connection: ConnectionFields) -> dict[str, Any]:
    return {"RAY_ADDRESS": url_of(connection), "RAY_AUTH_TOKEN": connection.password}


def _predictor(connection: ConnectionFields) -> dict[str, Any]:
    return {"PREDICTOR_URL": url_of(connection), "PREDICTOR_TOKEN": connection.password}


_READERS = {S3: _s3, KAFKA: _kafka, MYSQL: _mysql, HIVE: _hive, METASTORE: _metastore, RAY: _ray, PREDICTOR: _predictor}


def _databases(connection_id: str, use_case: str) -> dict[str, str]:
    """The variables that follow from the use case, where a connection's own would be another one's.

    In Hive the database is the use case's, and the connection's schema only where a session begins. In MySQL the
    schema is the first use case's database, and every other one has its own.
    """
    if connection_id == HIVE:
        return {"HIVE_DATABASE": use_case}
    return {"MYSQL_DATABASE": use_case} if connection_id == MYSQL and use_case != DEPLOYMENT.use_case else {}


def environment_from(
    connections: Mapping[str, ConnectionFields], use_case: str = DEPLOYMENT.use_case
) -> dict[str, str]:
    """Translate connections (by id) to variables; raises ``ConnectionIncomplete`` naming what is missing."""
    environment: dict[str, str] = {}
    for connection_id, connection in connections.items():
        found = {**_READERS[connection_id](connection), **_databases(connection_id, use_case)}
        for name, value in found.items():
            if value in (None, ""):
                raise ConnectionIncomplete(f"Airflow connection {connection_id!r} gives no {name}: complete it")
            environment[name] = str(value)
    return environment


def read_environment(*connection_ids: str, use_case: str = DEPLOYMENT.use_case) -> dict[str, str]:
    """Read the named connections (all by default) from Airflow and translate them for a use case."""
    from airflow.sdk import BaseHook

    return environment_from({name: BaseHook.get_connection(name) for name in connection_ids or ALL}, use_case)


def extra_of(connection_id: str) -> dict[str, Any]:
    """A connection's extra, parsed."""
    from airflow.sdk import BaseHook

    return dict(BaseHook.get_connection(connection_id).extra_dejson)


@contextmanager
def connected(*connection_ids: str, use_case: str = DEPLOYMENT.use_case) -> Iterator[dict[str, str]]:
    """Set the variables in this task's own process while the block runs, for ``include`` functions called in it."""
    environment = read_environment(*connection_ids, use_case=use_case)
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield environment
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
