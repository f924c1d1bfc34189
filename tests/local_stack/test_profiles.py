"""Profiles: remembered with the data, and clusters whose processes know each other and nothing of a driver's."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from local_stack.control import all_servers, choose, stop_waves
from local_stack.environment import process_env, stack_env
from local_stack.faults import StackError
from local_stack.ports import OFFSETS, remember_base
from local_stack.profiles import PROFILES, SETTING, SINGLE, choose_profile, remember_profile
from local_stack.servers import kafka, spark
from local_stack.spark_conf import for_hiveserver2, for_jobs
from local_stack.stack import Server, Stack


@pytest.fixture
def cluster(stack: Stack) -> Stack:
    return replace(stack, profile=PROFILES["spark-kafka"])


def test_a_new_stack_has_the_profile_that_is_asked_for_and_keeps_it(tmp_path: Path) -> None:
    assert choose_profile(tmp_path, {}) == SINGLE
    asked = choose_profile(tmp_path, {SETTING: "spark-kafka"})
    remember_profile(tmp_path, asked)
    assert choose_profile(tmp_path, {}) == choose_profile(tmp_path, {SETTING: "spark-kafka"}) == asked


def test_data_of_one_profile_are_not_opened_by_another(tmp_path: Path) -> None:
    remember_profile(tmp_path, PROFILES["spark-kafka"])
    with pytest.raises(StackError, match=r"are of profile spark-kafka, not single: set LAMBDA_DL_STATE"):
        choose_profile(tmp_path, {SETTING: "single"})


def test_a_stack_from_before_there_were_profiles_has_one_of_each(tmp_path: Path) -> None:
    remember_base(tmp_path / "port_base", 21000)
    assert choose_profile(tmp_path, {}) == SINGLE
    with pytest.raises(StackError, match="are of profile single"):
        choose_profile(tmp_path, {SETTING: "spark-kafka"})


@pytest.mark.parametrize("kept", ["", "spark-kafka"])
def test_an_unknown_profile_is_refused_with_the_list(tmp_path: Path, kept: str) -> None:
    if kept:
        remember_profile(tmp_path, PROFILES[kept])
    with pytest.raises(StackError, match="no profile is called big: .* one of single, spark-kafka"):
        choose_profile(tmp_path, {SETTING: "big"})


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_profile_starts_and_stops_in_order_on_ports_of_its_own(stack: Stack, profile: object) -> None:
    servers = all_servers(replace(stack, profile=profile))
    names = [server.name for server in servers]
    used = [port for server in servers for port in server.port_names]
    assert len(set(names)) == len(names)
    assert len(set(used)) == len(used)
    assert set(used) <= set(OFFSETS)
    for position, server in enumerate(servers):
        assert set(server.needs) <= set(names[:position])
    order = {server.name: n for n, wave in enumerate(stop_waves(servers)) for server in wave}
    assert all(order[server.name] < order[needed] for server in servers for needed in server.needs)
    assert set(order) == set(names)


def test_who_needs_kafka_gets_all_brokers(cluster: Stack) -> None:
    chosen = {server.name for server in choose(all_servers(cluster), ["stream"], False)}
    assert {"kafka", "kafka-2", "kafka-3"} <= chosen


def test_clients_know_every_broker(cluster: Stack) -> None:
    assert stack_env(cluster)["KAFKA_BOOTSTRAP"] == "127.0.0.1:21020,127.0.0.1:21022,127.0.0.1:21024"


def settings_of(stack: Stack, name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in kafka.properties(stack, name).splitlines())


def test_three_brokers_keep_three_copies_and_two_must_have_a_message(cluster: Stack) -> None:
    brokers = [settings_of(cluster, name) for name in cluster.profile.brokers]
    assert [broker["node.id"] for broker in brokers] == ["1", "2", "3"]
    assert len({broker["controller.quorum.voters"] for broker in brokers}) == 1
    assert len({broker["log.dirs"] for broker in brokers}) == 3
    for broker in brokers:
        assert broker["min.insync.replicas"] == broker["transaction.state.log.min.isr"] == "2"
        factors = [value for key, value in broker.items() if key.endswith("replication.factor")]
        assert factors == ["3"] * 4


def test_one_broker_keeps_one_copy(stack: Stack) -> None:
    alone = settings_of(stack, "kafka")
    assert alone["min.insync.replicas"] == alone["default.replication.factor"] == "1"
    assert alone["log.dirs"].endswith("/data/kafka")


def spark_servers(stack: Stack) -> list[Server]:
    return [server for server in all_servers(stack) if server.name.startswith("spark")]


def test_a_worker_knows_nothing_of_a_driver(cluster: Stack) -> None:
    """No project code, no settings and no secret, unless its driver gives them to it."""
    secrets = set(cluster.secrets.values())
    for server in spark_servers(cluster):
        assert "PYTHONPATH" not in server.env
        assert not set(stack_env(cluster)) & set(server.env) - {"JAVA_HOME"}
        assert not secrets & set(server.env.values())
    given = {value for name in ("spark-master", "spark-worker-1") for value in spark.properties(cluster, name).values()}
    assert secrets & given == {cluster.secrets["spark_secret"]}


def test_jobs_and_hiveserver2_run_on_the_workers_and_leave_room_for_each_other(cluster: Stack) -> None:
    assert process_env(cluster)["SPARK_MASTER"] == "spark://127.0.0.1:21080"
    for settings in (for_jobs(cluster), for_hiveserver2(cluster)):
        assert settings["spark.master"] == "spark://127.0.0.1:21080"
        assert settings["spark.authenticate.secret"] == cluster.secrets["spark_secret"]
        assert int(settings["spark.cores.max"]) < spark.SLOTS * cluster.profile.spark_workers / 3


def test_without_workers_there_is_no_cluster_and_no_secret_for_it(stack: Stack) -> None:
    assert spark_servers(stack) == []
    assert not any("authenticate" in name for name in for_jobs(stack))
    assert process_env(stack)["SPARK_MASTER"] == "local[2]"


@pytest.fixture
def services(stack: Stack) -> Stack:
    return replace(stack, profile=PROFILES["ray-services"])


def test_two_services_share_two_partitions_of_queries_and_of_nothing_else(services: Stack, stack: Stack) -> None:
    shared = {topic.name for topic in kafka.topics(services) if kafka.partitions(services, topic) == 2}
    assert shared == {"flight_delay.queries", "flight_delay.prepared_queries"}
    assert {kafka.partitions(stack, topic) for topic in kafka.topics(stack)} == {1}
    assert stack_env(services)["PREDICTOR_URLS"] == "http://127.0.0.1:21001,http://127.0.0.1:21003"
    assert stack_env(services)["PREDICTOR_URL"] == stack_env(stack)["PREDICTOR_URLS"] == "http://127.0.0.1:21001"


def test_a_ray_node_has_the_token_and_the_s3_keys_and_no_other_secret(services: Stack) -> None:
    nodes = [server for server in all_servers(services) if server.name.startswith("ray-worker")]
    assert len(nodes) == 2
    for node in nodes:
        known = {name for name, value in services.secrets.items() if value in node.env.values()}
        assert known == {"ray_auth_token", "s3_access_key", "s3_secret_key"}
        assert not {"PYTHONPATH", "S3_ENDPOINT", "KAFKA_BOOTSTRAP"} & set(node.env)


def test_nodes_of_ray_start_their_workers_on_ports_of_their_own(services: Stack) -> None:
    shares = [services.ports.share_of_ray_workers(number, 3) for number in range(3)]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(shares))
    assert (shares[0][0], shares[-1][1]) <= services.ports.ray_workers


def test_the_head_computes_only_where_it_is_alone(services: Stack, stack: Stack) -> None:
    for one, cpus in ((stack, 2), (services, 0)):
        (head,) = (server for server in all_servers(one) if server.name == "ray")
        assert f"--num-cpus={cpus}" in head.command
