"""docker-compose.yml by its schema and by the rules of the house: start order, health, secrets, what is published."""

import json
import re
from graphlib import TopologicalSorter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from local_stack import compose_env, container
from local_stack.control import all_servers
from local_stack.stack import Stack
from tests.deployment.compose_file import ROOT, Missing, expressions, interpolated, loaded, texts

#: From PyPI's check-jsonschema 0.39.0, which vendors it from github.com/compose-spec/compose-spec (Apache-2.0).
SCHEMA = ROOT / "tests" / "deployment" / "compose-spec.json"
ONCE = {"stores", "superset-setup"}
VALUES = {name: f"value-of-{name.lower().replace('_', '-')}" for name in compose_env.names()}
SERVICES: dict[str, dict[str, Any]] = loaded()["services"]


def test_the_file_follows_the_specification() -> None:
    schema = json.loads(SCHEMA.read_text())
    faults = Draft202012Validator(schema).iter_errors(interpolated(loaded(), VALUES))
    assert [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in faults] == []


def test_the_schema_refuses_what_is_no_compose_file() -> None:
    broken = loaded()
    broken["services"]["kafka"]["depends"] = ["mysql"]
    assert not Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(broken)


def test_every_server_of_the_embedded_stack_is_a_service(stack: Stack) -> None:
    assert {server.name for server in all_servers(stack)} <= set(SERVICES)


def test_what_the_image_runs_is_there(stack: Stack) -> None:
    servers = container.servers_of(stack)
    for name, service in SERVICES.items():
        words = service.get("command", [])
        if words[:3] == ["python", "-m", "local_stack.container"]:
            assert set(words[4:]) <= set(servers), name
            if words[3] == "run" and name != "ray-gpu-worker":
                assert words[4] == name
                assert service["healthcheck"]["test"][1:] == [*words[:3], "probe", name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_looked_after(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no" and "healthcheck" not in service
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]


def test_nobody_waits_for_himself_and_everybody_for_what_he_needs(stack: Stack) -> None:
    needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    order = list(TopologicalSorter(needs).static_order())  # raises for a circle
    for name, conditions in needs.items():
        for other, how in conditions.items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": wanted}, f"{name} on {other}"
    before = {name: order.index(name) for name in order}
    for server in all_servers(stack):
        assert all(before[need] < before[server.name] for need in server.needs), server.name


def test_nothing_is_published_beyond_loopback_unless_asked() -> None:
    for name, service in SERVICES.items():
        assert "network_mode" not in service and not service.get("privileged")
        for port in interpolated(service.get("ports", []), VALUES):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), name
    published = interpolated([port for service in SERVICES.values() for port in service.get("ports", [])], VALUES)
    assert len({port.split(":")[1] for port in published}) == len(published)
    asked = interpolated(SERVICES["mysql"]["ports"], {**VALUES, "PUBLISH_ADDRESS": "192.0.2.1"})
    assert asked == ["192.0.2.1:21030:3306"]


def test_every_variable_has_a_default_or_is_generated() -> None:
    used = {(name, operator) for text in texts(loaded()) for name, operator, _ in expressions(text)}
    required = {name for name, operator in used if operator == ":?"}
    assert {operator for _, operator in used} == {":?", ":-"}
    assert required == set(VALUES)
    with pytest.raises(Missing, match="S3_SECRET_KEY: run python3 -m local_stack.compose_env"):
        interpolated(loaded(), VALUES | {"S3_SECRET_KEY": ""})


def test_no_secret_stands_in_the_file() -> None:
    secret = re.compile(r"(password|secret|token|_key)", re.IGNORECASE)
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert str(value).startswith("${"), f"{name}: {variable}"
            assert not re.search(r"://\w+:[^$]\S*@", str(value)), f"{name}: {variable}"


def test_nobody_gets_a_secret_that_writes_for_reading() -> None:
    for name in ("hiveserver2", "predictor", "superset", "superset-worker", "gateway", "spark-worker"):
        given = interpolated(SERVICES[name].get("environment", {}), VALUES)
        for secret in ("S3_SECRET_KEY", "MYSQL_ROOT_PASSWORD", "MYSQL_BATCH_PASSWORD", "AIRFLOW_PASSWORD"):
            assert VALUES[secret] not in " ".join(map(str, given.values())), name


def test_an_image_is_built_by_one_service_and_pulled_by_none() -> None:
    ours = {name: service for name, service in SERVICES.items() if service["image"].startswith("lambda-dl/")}
    builders = [service["image"] for service in ours.values() if "build" in service]
    assert sorted(builders) == sorted({service["image"] for service in ours.values()})
    for name, service in ours.items():
        assert "build" in service or service["pull_policy"] == "never", name


def test_what_a_service_prints_is_bounded() -> None:
    assert {service["logging"]["options"]["max-size"] for service in SERVICES.values()} == {"10m"}


def test_every_node_of_ray_sees_the_rows_of_a_large_training() -> None:
    for name in ("ray", "ray-worker", "ray-gpu-worker"):
        folder = SERVICES[name]["environment"]["LAMBDA_DL_TRAINING_FOLDER"]
        assert f"training:{folder}" in SERVICES[name]["volumes"], name


@pytest.mark.parametrize("name", [name for name, s in SERVICES.items() if s["image"] == "lambda-dl/app:0.1.0"])
def test_a_volume_of_our_image_takes_over_an_owner(name: str) -> None:
    """An empty volume is root's, unless the image has the folder."""
    made = (ROOT / "deploy" / "Dockerfile").read_text().split()
    for mount in SERVICES[name].get("volumes", []):
        assert mount.partition(":")[2] in made, mount


def test_volumes_and_configs_are_declared_and_used() -> None:
    whole = loaded()
    mounts = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert mounts == set(whole["volumes"])
    assert {c["source"] for service in SERVICES.values() for c in service.get("configs", [])} == set(whole["configs"])
    for store in ("s3", "kafka", "mysql", "postgres"):
        assert SERVICES[store]["volumes"], store


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_what_an_image_is_built_from_is_there(name: str) -> None:
    build = SERVICES[name]["build"]
    assert build["context"] == "."
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] not in "#*"}
    for line in (ROOT / build["dockerfile"]).read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), f"{build['dockerfile']}: {line}"
                assert not {source, source.split("/")[0]} & ignored, f"{source} is kept out by .dockerignore"
