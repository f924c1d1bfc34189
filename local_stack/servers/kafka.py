"""Kafka: one KRaft node that is broker and controller, with the project's topics.

Nothing expires: the topics are this machine's only copy of what was announced, and their data is small.
"""

from __future__ import annotations

from typing import Any

from local_stack.names import Topic, topics_of
from local_stack.ports import LOOPBACK
from local_stack.process import run_step
from local_stack.stack import Server, Stack

DAY_MS = 24 * 60 * 60 * 1000
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")
LOG4J = """rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
"""


def kafka(stack: Stack) -> Server:
    return Server(
        name="kafka",
        address=stack.ports.address("kafka"),
        port_names=("kafka", "kafka-controller"),
        command=_java(stack, "kafka.Kafka", str(stack.layout.conf / "kafka.properties")),
        prepare=lambda: _prepare(stack),
        probe=lambda: _probe(stack),
        settle=lambda: _make_topics(stack),
        stop_limit_s=60,
    )


def _java(stack: Stack, main: str, *args: str) -> tuple[str, ...]:
    layout = stack.layout
    logging = f"-Dlog4j2.configurationFile={layout.conf / 'kafka-log4j2.properties'}"
    return (str(layout.java), *JVM, logging, "-cp", f"{layout.jars / 'kafka'}/*", main, *args)


def properties(stack: Stack) -> str:
    """The broker's settings."""
    ports = stack.ports
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{ports.address('kafka-controller')}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{ports.address('kafka')},CONTROLLER://{ports.address('kafka-controller')}",
        "advertised.listeners": f"PLAINTEXT://{ports.address('kafka')}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": stack.layout.data / "kafka",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 5,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 5,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 5,
        "default.replication.factor": 1,
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
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _prepare(stack: Stack) -> None:
    layout = stack.layout
    config = layout.conf / "kafka.properties"
    config.write_text(properties(stack))
    (layout.conf / "kafka-log4j2.properties").write_text(LOG4J)
    if not (layout.data / "kafka" / "meta.properties").is_file():
        command = _java(
            stack,
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            f"--cluster-id={stack.secrets['kafka_cluster_id']}",
        )
        run_step("formatting Kafka's storage", (*command, "-c", str(config)), layout.logs / "kafka-format.log")


def _admin(stack: Stack) -> Any:
    from confluent_kafka.admin import AdminClient

    quiet = {"log_level": 0, "socket.timeout.ms": 5000, "allow.auto.create.topics": False}
    return AdminClient({"bootstrap.servers": stack.ports.address("kafka"), **quiet})


def _probe(stack: Stack) -> None:
    brokers = _admin(stack).list_topics(timeout=3).brokers
    if not brokers:
        raise ConnectionError(f"no broker at {LOOPBACK}")


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
            num_partitions=1,
            replication_factor=1,
            config=topic_config(topic),
        )
        for topic in wanted
    ]
    for created in admin.create_topics(new).values() if new else ():
        created.result(30)


def topic_config(topic: Topic) -> dict[str, str]:
    """How long a topic keeps what."""
    retention = "-1" if topic.days is None else str(topic.days * DAY_MS)
    policies = ["compact"] if topic.compacted else ["delete"]
    if topic.compacted and topic.days is not None:
        policies.append("delete")
    return {"retention.ms": retention, "cleanup.policy": ",".join(policies)}
