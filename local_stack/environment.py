"""The environment: what clients of the stack may source, and what each server's process gets.

A stack may have settings of its own (its first and last day of facts), kept in its state folder so that every start
has them.

`stack.env` holds every endpoint and generated secret under names that clients outside this repository rely on. Knows
the names and where they point; does not know which server reads which.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping

from include import use_cases
from include.use_cases import SEPARATOR, USE_CASES, read_use_cases
from local_stack import names
from local_stack.faults import StackError
from local_stack.layout import Layout
from local_stack.ports import LOOPBACK
from local_stack.secret_store import write_private
from local_stack.spark_conf import spark_master
from local_stack.stack import Stack


def stack_env(stack: Stack) -> dict[str, str]:
    """Every endpoint and secret, by the names of the architecture page."""
    return {**_http_services(stack), **_stores(stack), **_compute(stack), **_places(stack)}


def _http_services(stack: Stack) -> dict[str, str]:
    ports, secrets = stack.ports, stack.secrets
    return {
        "AIRFLOW_URL": ports.url("airflow-api"),
        "AIRFLOW_USER": names.AIRFLOW_USER,
        "AIRFLOW_PASSWORD": secrets["airflow_password"],
        "PREDICTOR_URL": ports.url("predictor"),
        **{
            f"PREDICTOR_URL_{name.upper()}": ports.url(stack.server_of("predictor", name))
            for name in stack.use_cases[1:]
        },
        "PREDICTOR_URLS": ",".join(map(ports.url, stack.profile.services)),
        "PREDICTOR_TOKEN": secrets["predictor_token"],
        "SUPERSET_URL": ports.url("superset"),
        "SUPERSET_USER": names.SUPERSET_ADMIN,
        "SUPERSET_PASSWORD": secrets["superset_password"],
        "SUPERSET_ANALYST_USER": names.SUPERSET_ANALYST,
        "SUPERSET_ANALYST_PASSWORD": secrets["superset_analyst_password"],
    }


def _stores(stack: Stack) -> dict[str, str]:
    ports, secrets = stack.ports, stack.secrets
    return {
        "S3_ENDPOINT": ports.url("s3"),
        "S3_REGION": names.S3_REGION,
        "S3_ACCESS_KEY": secrets["s3_access_key"],
        "S3_SECRET_KEY": secrets["s3_secret_key"],
        "HIVE_S3_ACCESS_KEY": secrets["hive_s3_access_key"],
        "HIVE_S3_SECRET_KEY": secrets["hive_s3_secret_key"],
        "PREDICTOR_S3_ACCESS_KEY": secrets["predictor_s3_access_key"],
        "PREDICTOR_S3_SECRET_KEY": secrets["predictor_s3_secret_key"],
        "KAFKA_BOOTSTRAP": ports.addresses(stack.profile.brokers),
        "MYSQL_HOST": ports.host("mysql"),
        "MYSQL_PORT": str(ports["mysql"]),
        "MYSQL_DATABASE": stack.first_use_case,
        "MYSQL_USER": names.BATCH_USER,
        "MYSQL_PASSWORD": secrets["mysql_batch_password"],
        "MYSQL_ANALYST_USER": names.ANALYST_USER,
        "MYSQL_ANALYST_PASSWORD": secrets["mysql_analyst_password"],
    }


def _compute(stack: Stack) -> dict[str, str]:
    ports = stack.ports
    return {
        "HIVE_HOST": ports.host("hiveserver2"),
        "HIVE_PORT": str(ports["hiveserver2"]),
        "HIVE_USER": names.HIVE_USER,
        "HIVE_DATABASE": stack.first_use_case,
        "METASTORE_URI": f"thrift://{ports.address('metastore')}",
        "RAY_ADDRESS": ports.url("ray-dashboard"),
        "RAY_AUTH_TOKEN": stack.secrets["ray_auth_token"],
        "SPARK_MASTER": spark_master(stack),
    }


def _places(stack: Stack) -> dict[str, str]:
    layout = stack.layout
    return {
        "JAVA_HOME": str(layout.java_home),
        "SPARK_JARS_DIR": str(layout.spark_jars),
        "LAMBDA_DL_HOME": str(layout.repo),
        "LAMBDA_DL_STATE": str(layout.state),
        USE_CASES: ",".join(stack.use_cases),
    }


def environment_of(environment: Mapping[str, str], use_case: str) -> dict[str, str]:
    """A stack's names as a program has them that works on one of its use cases: its databases, predictor and DAGs.

    Raises ``StackError`` if the stack does not have it.
    """
    first, *others = read_use_cases(environment)
    if use_case == first:
        return dict(environment)
    if use_case not in others:
        wanted = ",".join((first, *others, use_case))
        raise StackError(f"this stack has no use case {use_case!r}", f"make down, then {USE_CASES}={wanted} make up")
    return {**use_cases.environment_of(environment, use_case), names.DAG_SUFFIX: f"{SEPARATOR}{use_case}"}


def process_env(stack: Stack) -> dict[str, str]:
    """What every Python and Spark process of the project starts with: the stack's names and one set of tools."""
    layout = stack.layout
    return {
        **stack_env(stack),
        "PATH": f"{layout.bin}:{layout.java_home / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": f"{layout.repo}:{layout.repo / 'plugins'}",
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": str(layout.python),
        "PYSPARK_DRIVER_PYTHON": str(layout.python),
        "SPARK_HOME": str(layout.pyspark_jars.parent),
        "SPARK_CONF_DIR": str(layout.conf / "spark"),
        **({"SPARK_LOCAL_IP": LOOPBACK} if stack.ports.bind == LOOPBACK else {}),
        "RAY_AUTH_MODE": "token",
        "AWS_ACCESS_KEY_ID": stack.secrets["s3_access_key"],
        "AWS_SECRET_ACCESS_KEY": stack.secrets["s3_secret_key"],
        "AWS_REGION": names.S3_REGION,
        "AWS_DEFAULT_REGION": names.S3_REGION,
        "AWS_ENDPOINT_URL_S3": stack.ports.url("s3"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **own_settings(stack.layout),
        **stack.overrides,
    }


def secretless_env(stack: Stack) -> dict[str, str]:
    """The same without any of the stack's secrets: for servers that strangers talk to, which are given their own."""
    secrets = set(stack.secrets.values())
    return {name: value for name, value in process_env(stack).items() if value not in secrets}


def own_settings(layout: Layout) -> dict[str, str]:
    """Environment variables that every process of this stack has, whoever starts it; none by default."""
    if not layout.settings_file.is_file():
        return {}
    settings: dict[str, str] = json.loads(layout.settings_file.read_text())
    return settings


def keep_settings(layout: Layout, settings: Mapping[str, str]) -> None:
    """Remember them in the state folder, for this start of the stack and every later one."""
    write_private(layout.settings_file, json.dumps(dict(settings), indent=2) + "\n")


def render_env(values: Mapping[str, str]) -> str:
    """`NAME=value` lines that a shell and any simple parser read alike."""
    return "".join(f"{name}={_plain(value)}\n" for name, value in values.items())


def _plain(value: str) -> str:
    # local[2] and URLs need no quotes on the right of an assignment; a path with a blank does.
    return shlex.quote(value) if any(c in value for c in " \t'\"$`\\;&|<>()#*?~") else value


def render_exports(values: Mapping[str, str]) -> str:
    """Lines that a shell sources to have the values in its environment."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
