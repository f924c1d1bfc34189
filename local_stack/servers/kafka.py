"""Kafka: KRaft nodes that are broker and controller, one or as many as the profile says, with the project's topics.

Nothing expires: the topics are this machine's only copy of what was announced, and their data is small.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from local_stack.names import Topic, topics_of
from local_stack.process import run_step
from local_stack.stack import Server, Stack

DAY_MS = 24 * 60 * 60 * 1000
MOST_COPIES = 3
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")
LOG4J = """rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
"""


def kafka_brokers(stack: Stack) -> tuple[Server, ...]:
    """All brokers; the first waits for the others, so that whoever needs `kafka` finds the whole cluster."""
    first, *others = stack.profile.brokers
    return (
        *(_broker(stack, name) for name in others),
        replace(_broker(stack, first), needs=tuple(others), settle=lambda: _make_topics(stack)),
    )


def _broker(stack: Stack, name: str) -> Server:
    return Server(
        name=name,
        address=stack.ports.address(name),
        port_names=(name, f"{name}-controller"),
        command=_java(stack, "kafka.Kafka", str(_config(stack, name))),
        prepare=lambda: _prepare(stack, name),
        probe=lambda: _probe(stack, name),
        stop_limit_s=60,
    )


def _config(stack: Stack, name: str) -> Path:
    return stack.layout.conf / f"{name}.properties"


def _node(stack: Stack, name: str) -> int:
    return 1 + stack.profile.brokers.index(name)


def _java(stack: Stack, main: str, *args: str) -> tuple[str, ...]:
    layout = stack.layout
    logging = f"-Dlog4j2.configurationFile={layout.conf / 'kafka-log4j2.properties'}"
    return (str(layout.java), *JVM, logging, "-cp", f"{layout.jars / 'kafka'}/*", main, *args)


def properties(stack: Stack, name: str) -> str:
    """A broker's settings."""
    ports, brokers = stack.ports, stack.profile.brokers
    voters = ",".join(f"{_node(stack, each)}@{ports.address(f'{each}-controller')}" for each in brokers)
    copies = min(MOST_COPIES, len(brokers))
    # With three copies one broker may be away: what two have acknowledged is not lost with a second one.
    in_sync = max(1, copies - 1)
    settings = {
        "process.roles": "broker,controller",
        "node.id": _node(stack, name),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{ports.address(name)},CONTROLLER://{ports.address(f'{name}-controller')}",
        "advertised.listeners": f"PLAINTEXT://{ports.address(name)}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": stack.layout.data / name,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 5,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 5,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 5,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "num.partitions": 1,
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": 0,
        "offsets.retention.minutes": 60 * 24 * 365,
        "log.retention.ms": -1,
        "log.segment.bytes": 64 * 1024 * 1024,
        "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _prepare(stack: Stack, name: str) -> None:
    layout, config = stack.layout, _config(stack, name)
    config.write_text(properties(stack, name))
    (layout.conf / "kafka-log4j2.properties").write_text(LOG4J)
    if not (layout.data / name / "meta.properties").is_file():
        command = _java(
            stack,
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            f"--cluster-id={stack.secrets['kafka_cluster_id']}",
        )
        run_step("formatting Kafka's storage", (*command, "-c", str(config)), layout.logs / f"{name}-format.log")


def _admin(stack: Stack, *names: str) -> Any:
    """A client of the cluster, by the addresses of some of its brokers, or of all."""
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0, "socket.timeout.ms": 5000, "allow.auto.create.topics": False}
    return AdminClient({"bootstrap.servers": stack.ports.addresses(names or stack.profile.brokers), **quiet})


def _probe(stack: Stack, name: str) -> None:
    if _node(stack, name) not in _admin(stack, name).list_topics(timeout=3).brokers:
        raise ConnectionError(f"no broker at {stack.ports.address(name)}")


def topics(stack: Stack) -> list[Topic]:
    """Every topic of the stack's use cases."""
    from include.use_case import load_use_case

    named = [(name, [contract.name for contract in load_use_case(name).sources]) for name in stack.use_cases]
    return [topic for name, sources in named for topic in topics_of(name, sources)]


def _make_topics(stack: Stack) -> None:
    from confluent_kafka.cimpl import NewTopic

    admin = _admin(stack)
    present = admin.list_topics(timeout=10).topics
    wanted = [topic for topic in topics(stack) if topic.name not in present]
    new = [
        NewTopic(
            topic.name,
            num_partitions=partitions(stack, topic),
            replication_factor=min(MOST_COPIES, len(stack.profile.brokers)),
            config=topic_config(topic),
        )
        for topic in wanted
    ]
    for created in admin.create_topics(new).values() if new else ():
        created.result(30)


def partitions(stack: Stack, topic: Topic) -> int:
    """Speed services share the partitions of the queries; the other topics are read in one order by everybody."""
    return len(stack.profile.services) if topic.name.endswith("queries") else 1


def topic_config(topic: Topic) -> dict[str, str]:
    """How long a topic keeps what."""
    retention = "-1" if topic.days is None else str(topic.days * DAY_MS)
    policies = ["compact"] if topic.compacted else ["delete"]
    if topic.compacted and topic.days is not None:
        policies.append("delete")
    return {"retention.ms": retention, "cleanup.policy": ",".join(policies)}
