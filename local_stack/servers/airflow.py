"""Airflow: api-server, scheduler, dag-processor and triggerer on one SQLite metadata database.

Everything that depends on this machine goes in by environment variable, over the top-level airflow.cfg; connections
too, so that a cluster changes only those. Knows nothing about the DAGs.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

from include.use_cases import DEFAULT_USE_CASE
from local_stack import names
from local_stack.environment import process_env, render_exports
from local_stack.jars import sha256_of
from local_stack.ports import Ports
from local_stack.process import run_step
from local_stack.secret_store import write_private
from local_stack.spark_conf import long_spans, spark_master
from local_stack.stack import Server, Stack, done_once

#: How long one of Airflow's processes waits for another to end its write. SQLite's own 5 s are short on a busy machine:
#: the scheduler writes for longer when a run of many days ends, and a trigger was then answered with 500.
WAIT_FOR_LOCK_S = 60

AIRFLOW_SHELL = """#!/bin/bash
# Airflow's command line, talking to this stack.
source {env}
exec {airflow} "$@"
"""


def airflow_servers(stack: Stack) -> tuple[Server, ...]:
    """The four processes; the api-server goes first, since it alone prepares the database."""
    api = Server(
        name="airflow-api",
        address=stack.ports.url("airflow-api"),
        port_names=("airflow-api",),
        command=_airflow(stack, "api-server"),
        env=airflow_env(stack),
        prepare=lambda: _prepare(stack),
        probe=lambda: _probe_api(stack),
        start_limit_s=300,
        stop_limit_s=10,  # it holds nothing, and waits long for browsers that keep a connection open
        stop_as_group=True,
    )
    # Served logs would listen on all interfaces, and the api-server reads the files itself.
    others = (
        ("airflow-scheduler", ("scheduler", "--skip-serve-logs"), "scheduler"),
        ("airflow-dags", ("dag-processor",), "dag_processor"),
        ("airflow-triggerer", ("triggerer", "--skip-serve-logs"), "triggerer"),
    )
    return (api, *(_component(stack, *other) for other in others))


def _component(stack: Stack, name: str, command: tuple[str, ...], component: str) -> Server:
    return Server(
        name=name,
        address=f"{stack.ports.address('airflow-api')} (heartbeat)",
        command=_airflow(stack, *command),
        env=airflow_env(stack),
        needs=("airflow-api",),
        probe=lambda: _probe_component(stack, component),
        start_limit_s=300,
        stop_limit_s=40,
        stop_as_group=True,
    )


def _airflow(stack: Stack, *args: str) -> tuple[str, ...]:
    return (str(stack.layout.bin / "airflow"), *args)


def airflow_env(stack: Stack) -> dict[str, str]:
    """The environment of every Airflow process."""
    return {**_settings(stack), **process_env(stack), **connections(stack), **stack.overrides}


def _settings(stack: Stack) -> dict[str, str]:
    layout, ports, secrets = stack.layout, stack.ports, stack.secrets
    url = ports.url("airflow-api")
    database = layout.airflow_home / "airflow.db"
    # A use case of somebody's own has no end.
    last_day = names.LAST_DAY if stack.first_use_case == DEFAULT_USE_CASE else ""
    return {
        **{name: os.environ[name] for name in names.AIRFLOW_SETTINGS if name in os.environ},
        "LAMBDA_DL_LAST_DAY": os.environ.get("LAMBDA_DL_LAST_DAY", last_day),
        "AIRFLOW_HOME": str(layout.airflow_home),
        "AIRFLOW_CONFIG": str(layout.repo / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(layout.repo / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(layout.repo / "plugins"),
        "AIRFLOW__CORE__FERNET_KEY": secrets["airflow_fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{names.AIRFLOW_USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.conf / "airflow-passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}?timeout={WAIT_FOR_LOCK_S}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(layout.airflow_home / "logs"),
        "AIRFLOW__API__HOST": ports.bind,
        "AIRFLOW__API__PORT": str(ports["airflow-api"]),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": secrets["airflow_api_secret"],
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["airflow_jwt_secret"],
    }


def connections(stack: Stack) -> dict[str, str]:
    """Airflow's connections to the other servers, as environment variables."""
    return {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in _connections(stack).items()}


def _connections(stack: Stack) -> dict[str, dict[str, Any]]:
    ports, secrets = stack.ports, stack.secrets
    return {
        "lambda_dl_s3": {
            "conn_type": "aws",
            "login": secrets["s3_access_key"],
            "password": secrets["s3_secret_key"],
            "extra": {
                "endpoint_url": ports.url("s3"),
                "region_name": names.S3_REGION,
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            },
        },
        "lambda_dl_kafka": {
            "conn_type": "kafka",
            "extra": {"bootstrap.servers": ports.addresses(stack.profile.brokers), "group.id": "airflow"},
        },
        "lambda_dl_mysql": {
            "conn_type": "mysql",
            "host": ports.host("mysql"),
            "port": ports["mysql"],
            "login": names.BATCH_USER,
            "password": secrets["mysql_batch_password"],
            "schema": stack.first_use_case,
            "extra": {"client": "mysql-connector-python", "allow_local_infile": True},
        },
        "lambda_dl_hive": {
            "conn_type": "hiveserver2",
            "host": ports.host("hiveserver2"),
            "port": ports["hiveserver2"],
            "login": names.HIVE_USER,
            "schema": "default",
            "extra": {"auth_mechanism": "NONE"},
        },
        "lambda_dl_metastore": {
            "conn_type": "hive_metastore",
            "host": ports.host("metastore"),
            "port": ports["metastore"],
            "extra": {"auth_mechanism": "NOSASL"},
        },
        "lambda_dl_spark": {
            "conn_type": "spark",
            "host": spark_master(stack),
            "extra": {
                "deploy-mode": "client",
                "spark-binary": "spark-submit",
                "long_spans": long_spans(bool(stack.profile.spark_workers)),
            },
        },
        "lambda_dl_ray": _http(ports, "ray-dashboard", secrets["ray_auth_token"]),
        "lambda_dl_predictor": _http(ports, "predictor", secrets["predictor_token"]),
    }


def _http(ports: Ports, name: str, token: str) -> dict[str, Any]:
    return {"conn_type": "http", "schema": "http", "host": ports.host(name), "port": ports[name], "password": token}


def pools() -> dict[str, dict[str, Any]]:
    """Airflow's pools in the form that its import takes."""
    # A deferred task keeps its slot: the GPU works while the task waits.
    return {name: {"slots": 1, "description": text, "include_deferred": True} for name, text in names.POOLS.items()}


def _prepare(stack: Stack) -> None:
    layout, env = stack.layout, airflow_env(stack)
    passwords = {names.AIRFLOW_USER: stack.secrets["airflow_password"]}
    write_private(layout.conf / "airflow-passwords.json", json.dumps(passwords))
    write_private(layout.conf / "airflow.env", render_exports(env))
    shell = AIRFLOW_SHELL.format(env=layout.conf / "airflow.env", airflow=layout.bin / "airflow")
    write_private(layout.run / "airflow", shell, mode=0o700)
    log = layout.logs / "airflow-db.log"
    migrate = _airflow(stack, "db", "migrate")
    done_once(
        layout.airflow_home / ".migrated",
        sha256_of(layout.repo / "requirements.txt"),
        lambda: run_step("creating Airflow's database", migrate, log, env),
    )
    pool_file = layout.conf / "airflow-pools.json"
    pool_file.write_text(json.dumps(pools(), indent=1))
    load = _airflow(stack, "pools", "import", str(pool_file))
    done_once(
        layout.airflow_home / ".pools",
        pool_file.read_text(),
        lambda: run_step("creating Airflow's pools", load, log, env),
    )


def _health(stack: Stack) -> dict[str, dict[str, Any]]:
    import requests

    answer = requests.get(f"{stack.ports.url('airflow-api')}/api/v2/monitor/health", timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


def _probe_api(stack: Stack) -> None:
    status = _health(stack)["metadatabase"]["status"]
    if status != "healthy":
        raise ConnectionError(f"the metadata database is {status}")


def _probe_component(stack: Stack, component: str) -> None:
    """A heartbeat counts only when it is younger than this run of the stack."""
    state = _health(stack)[component]
    beat = state.get(f"latest_{component}_heartbeat")
    if state["status"] != "healthy" or not beat:
        raise ConnectionError(f"{component} is {state['status']}")
    started = (stack.layout.run / "started").stat().st_mtime
    if datetime.fromisoformat(beat).timestamp() < started:
        raise ConnectionError(f"{component} has not beaten since the stack started")
