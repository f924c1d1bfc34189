"""Spark's standalone cluster: a master and workers with folders of their own, for the profile that has them.

A worker's environment is what a machine of a cluster has: Java, Spark's own files, nothing of a driver's. No path to
the project's code and no secret but the one that all of the cluster share: executors get the rest from their driver.
"""

from __future__ import annotations

import os

from local_stack.ports import LOOPBACK
from local_stack.secret_store import write_private
from local_stack.spark_conf import LOG4J, cluster_conf, render, spark_master
from local_stack.stack import Server, Stack

MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"
#: Slots, not cores: HiveServer2 and jobs each hold an executor on every worker at the same time.
SLOTS = 8
MEMORY = "5g"
DAEMON_JVM = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


def spark_cluster(stack: Stack) -> tuple[Server, ...]:
    """The master and its workers; none without workers."""
    workers = stack.profile.workers_of_spark
    return (_master(stack), *(_worker(stack, name) for name in workers)) if workers else ()


def _master(stack: Stack) -> Server:
    ports = stack.ports
    return Server(
        name="spark-master",
        address=spark_master(stack),
        port_names=("spark-master", "spark-master-page"),
        command=_command(stack, MASTER, "spark-master", "--port", str(ports["spark-master"])),
        env=_env(stack),
        prepare=lambda: _prepare(stack, "spark-master"),
        probe=lambda: _probe(stack, 0),
        stop_as_group=True,
    )


def _worker(stack: Stack, name: str) -> Server:
    folder, port = stack.layout.data / name, str(stack.ports[name])
    resources = ("--port", port, "--cores", str(SLOTS), "--memory", MEMORY, "--work-dir", str(folder / "work"))
    return Server(
        name=name,
        address=stack.ports.address(name),
        port_names=(name, f"{name}-page"),
        needs=("spark-master",),
        command=(*_command(stack, WORKER, name, *resources), spark_master(stack)),
        env=_env(stack),
        prepare=lambda: _prepare(stack, name),
        probe=lambda: _probe(stack, stack.ports[name]),
        stop_as_group=True,
    )


def _command(stack: Stack, main: str, name: str, *arguments: str) -> tuple[str, ...]:
    launcher = stack.layout.pyspark_jars.parent / "bin" / "spark-class"
    page = ("--webui-port", str(stack.ports[f"{name}-page"]))
    settings = ("--properties-file", str(stack.layout.conf / f"{name}.conf"))
    return (str(launcher), main, "--host", LOOPBACK, *page, *settings, *arguments)


def _env(stack: Stack) -> dict[str, str]:
    layout = stack.layout
    return {
        "PATH": f"{layout.java_home / 'bin'}:{os.defpath}",
        "JAVA_HOME": str(layout.java_home),
        "SPARK_HOME": str(layout.pyspark_jars.parent),
        "SPARK_CONF_DIR": str(layout.conf / "spark-cluster"),
        "SPARK_LOCAL_IP": LOOPBACK,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": DAEMON_JVM,
    }


def properties(stack: Stack, name: str) -> dict[str, str]:
    """What a process of the cluster is configured with."""
    return {
        **cluster_conf(stack),
        "spark.local.dir": str(stack.layout.data / name),
    }


def _prepare(stack: Stack, name: str) -> None:
    (stack.layout.data / name).mkdir(mode=0o700, exist_ok=True)
    conf = stack.layout.conf / "spark-cluster"
    conf.mkdir(mode=0o700, exist_ok=True)
    (conf / "log4j2.properties").write_text(LOG4J)
    write_private(stack.layout.conf / f"{name}.conf", render(properties(stack, name)))


def _probe(stack: Stack, port: int) -> None:
    """The master answers, and knows a living worker at this port (if there has to be one)."""
    import requests

    answer = requests.get(f"{stack.ports.url('spark-master-page')}/json/", timeout=5)
    answer.raise_for_status()
    alive = {worker["port"] for worker in answer.json()["workers"] if worker["state"] == "ALIVE"}
    if port and port not in alive:
        raise ConnectionError(f"the master knows no worker at port {port}")
