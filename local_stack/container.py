"""One server of the stack in a container: what docker-compose.yml runs where the image is this project's own.

    python -m local_stack.container run NAME                  # prepare the server, then become it
    python -m local_stack.container probe NAME                # ends with 0 while it answers as it should
    python -m local_stack.container settle NAME ...           # wait for each, then make what has to be inside it
    python -m local_stack.container exec NAME -- COMMAND ...  # a command in the environment of that server

The definitions are those of the embedded stack, with other addresses: a server is found at the host of its service's
name, on its usual port. Secrets come from the environment, each container's own ones alone; variables that begin like
`OVERRIDING` go before what the stack would set. Knows nothing about Docker.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from include.use_cases import read_use_cases
from local_stack import secret_store, supervision
from local_stack.control import all_servers, probe_fault, wait_healthy
from local_stack.faults import StackError
from local_stack.layout import Layout, layout_from
from local_stack.ports import LOOPBACK, Ports
from local_stack.secret_store import write_private
from local_stack.servers import mysql, ray
from local_stack.servers.spark import MASTER, WORKER
from local_stack.spark_conf import cluster_conf, for_jobs, long_spans, render, shared_secret, write_conf
from local_stack.stack import Server, Stack

#: In a container's own network; docker-compose.yml publishes on loopback.
EVERYWHERE = "0.0.0.0"
OVERRIDING = ("AIRFLOW__", "AIRFLOW_CONN_LAMBDA_DL_", "LAMBDA_DL_")
#: In the place of a secret that a container has no business with.
WITHHELD = "withheld-from-this-container"

#: The ports inside the network: those that each project's documentation names, where it names one.
USUAL: dict[str, int] = {
    "airflow-api": 8080,
    "predictor": 8000,
    "superset": 8088,
    "s3": 8333,
    "s3-master": 9333,
    "s3-filer": 8888,
    "s3-volume": 9340,
    "kafka": 9092,
    "kafka-controller": 9093,
    "mysql": 3306,
    "metastore": 9083,
    "hiveserver2": 10000,
    "ray-gcs": 6379,
    "ray-dashboard": 8265,
    "ray-client": 10001,
    "ray-agent": 52365,
    "ray-agent-grpc": 52366,
    "ray-node": 6380,
    "ray-objects": 6381,
    "ray-runtime-env": 6382,
    "ray-metrics": 6383,
    "ray-autoscaler-metrics": 6384,
    "ray-dashboard-metrics": 6385,
    "spark-master": 7077,
    "spark-master-page": 8082,  # Spark says 8080, which is Airflow's here
    "spark-worker": 7078,
    "spark-worker-page": 8081,
}
#: Services that listen on several ports.
SERVICE_OF = {name: service for service in ("ray", "kafka", "s3") for name in USUAL if name.startswith(f"{service}-")}


@dataclass(frozen=True)
class ServicePorts(Ports):
    """Each server at the host of its service's name."""

    base: int = 0

    @property
    def bind(self) -> str:
        return EVERYWHERE

    def __getitem__(self, name: str) -> int:
        # A further use case's predictor is a service of its own: predictor-card_fraud.
        return USUAL["predictor"] if name.startswith("predictor-") else USUAL[name]

    def host(self, name: str) -> str:
        return SERVICE_OF.get(name, name)

    @property
    def ray_workers(self) -> tuple[int, int]:
        return 20000, 20999


def secrets_from(environment: Mapping[str, str]) -> dict[str, str]:
    """Every secret by its name in capitals; one that is not given is a word that signs nobody in."""
    return {name: environment.get(name.upper()) or WITHHELD for name in secret_store.ALL_NAMES}


def container_stack(layout: Layout, environment: Mapping[str, str]) -> Stack:
    """The stack as one container sees it."""
    layout.make_folders()
    given = {name: value for name, value in environment.items() if name.startswith(OVERRIDING)}
    ports = ServicePorts()
    jobs = {"AIRFLOW_CONN_LAMBDA_DL_SPARK": json.dumps(spark_connection(ports, environment))}
    secrets, use_cases = secrets_from(environment), read_use_cases(environment)
    return Stack(layout, ports, secrets, {**jobs, **given}, use_cases=use_cases)


def spark_connection(ports: Ports, environment: Mapping[str, str]) -> dict[str, Any]:
    """Jobs run on the cluster, and each takes a part of it: another one may want to run at the same time."""
    share = {"spark.cores.max": "SPARK_JOB_CORES", "spark.executor.memory": "SPARK_EXECUTOR_MEMORY"}
    conf = {setting: environment[name] for setting, name in share.items() if environment.get(name)}
    long = long_spans(executors=False)
    extra = {"deploy-mode": "client", "spark-binary": "spark-submit", "conf": conf, "long_spans": long}
    return {"conn_type": "spark", "host": f"spark://{ports.address('spark-master')}", "extra": extra}


def servers_of(stack: Stack) -> dict[str, Server]:
    """The embedded stack's servers, and those that only a deployment of several containers has."""
    embedded = {server.name: server for server in all_servers(stack)}
    database = replace(embedded["mysql"], settle=lambda: make_users(stack))
    own = (database, spark_master(stack), spark_worker(stack), ray_worker(stack))
    return embedded | {server.name: server for server in own}


def make_users(stack: Stack) -> None:
    """The databases and accounts of the stack, for clients anywhere in the network."""
    with mysql.connect(stack) as connection, connection.cursor() as cursor:
        for statement in mysql.user_statements(stack.secrets, "%", stack.use_cases):
            cursor.execute(statement)


def spark_master(stack: Stack) -> Server:
    """The master of Spark's standalone cluster, on which jobs run."""
    port, page = str(stack.ports["spark-master"]), str(stack.ports["spark-master-page"])
    host = stack.ports.host("spark-master")
    return _spark_daemon(
        stack, "spark-master", MASTER, "--host", host, "--port", port, "--webui-port", page, page="spark-master-page"
    )


def spark_worker(stack: Stack) -> Server:
    """A worker; how much of its machine it offers say Spark's own SPARK_WORKER_CORES and SPARK_WORKER_MEMORY."""
    port, page = str(stack.ports["spark-worker"]), str(stack.ports["spark-worker-page"])
    folder = ("--work-dir", str(stack.layout.data / "spark-worker"))
    master = f"spark://{stack.ports.address('spark-master')}"
    arguments = ("--port", port, "--webui-port", page, *folder, master)
    return _spark_daemon(stack, "spark-worker", WORKER, *arguments, page="spark-worker-page")


def _spark_daemon(stack: Stack, name: str, main: str, *arguments: str, page: str) -> Server:
    settings = stack.layout.conf / "spark-cluster.conf"
    launcher = str(stack.layout.pyspark_jars.parent / "bin" / "spark-class")
    layout = stack.layout
    return Server(
        name=name,
        address=stack.ports.address(name),
        command=(launcher, main, "--properties-file", str(settings), *arguments),
        env={
            "PATH": f"{layout.bin}:{layout.java_home / 'bin'}:{os.defpath}",
            "JAVA_HOME": str(layout.java_home),
            "SPARK_HOME": str(layout.pyspark_jars.parent),
            "SPARK_CONF_DIR": str(layout.conf / "spark"),
            "PYTHONPATH": str(layout.repo),
        },
        prepare=lambda: write_private(settings, render(cluster_conf(stack))),
        probe=lambda: _ask(f"http://{LOOPBACK}:{stack.ports[page]}/json/"),
    )


def ray_worker(stack: Stack) -> Server:
    """A node that joins Ray's head, with the processors and accelerators that Docker gives it."""
    head, *_ = ray.ray_cluster(stack)
    ports = stack.ports
    first, last = ports.ray_workers
    return Server(
        name="ray-worker",
        address=ports.address("ray-gcs"),
        command=(
            *(str(stack.layout.bin / "ray"), "start", "--block", "--disable-usage-stats"),
            f"--address={ports.address('ray-gcs')}",
            f"--node-manager-port={ports['ray-node']}",
            f"--object-manager-port={ports['ray-objects']}",
            # Ray's own choice goes by the memory of the machine, and lies on disk where /dev/shm is smaller.
            f"--object-store-memory={ray.OBJECT_STORE_BYTES}",
            f"--dashboard-agent-listen-port={ports['ray-agent']}",
            f"--min-worker-port={first}",
            f"--max-worker-port={last}",
        ),
        env=head.env,
        probe=lambda: _ask(f"http://{LOOPBACK}:{ports['ray-agent']}/api/local_raylet_healthz", stack),
    )


def _ask(url: str, stack: Stack | None = None) -> None:
    import requests

    headers = {"Authorization": f"Bearer {stack.secrets['ray_auth_token']}"} if stack else {}
    requests.get(url, headers=headers, timeout=5).raise_for_status()


def prepare(stack: Stack, server: Server) -> None:
    """Every file that the server reads, in this container."""
    write_conf(stack)
    if stack.secrets["spark_secret"] != WITHHELD:  # jobs start here, or run here
        jobs = render({**for_jobs(stack), **shared_secret(stack)})
        write_private(stack.layout.conf / "spark" / "spark-defaults.conf", jobs)
    (stack.layout.run / "started").touch()
    server.prepare()
    supervision.write_launcher(stack, server)


def run(stack: Stack, server: Server) -> None:
    """Become the server."""
    prepare(stack, server)
    launcher = str(supervision.launch_path(stack, server.name))
    os.execv(launcher, [launcher])


def settle(stack: Stack, servers: Sequence[Server]) -> None:
    """Wait for each server and make what has to be inside it; raises ``StackError`` for one that does not answer."""
    for server in servers:
        wait_healthy(stack, server)
        server.settle()
        print(f"{server.name}: ready, with all that has to be in it", flush=True)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="local_stack.container", description="One server of the stack in a container.")
    commands = root.add_subparsers(dest="command", required=True)
    for name, what in (("run", "prepare a server and become it"), ("probe", "ask whether it answers as it should")):
        commands.add_parser(name, help=what).add_argument("name")
    settling = commands.add_parser("settle", help="wait for servers and make what has to be inside them")
    settling.add_argument("names", nargs="+")
    executing = commands.add_parser("exec", help="run a command in the environment of a server")
    executing.add_argument("name")
    executing.add_argument("words", nargs=argparse.REMAINDER)
    return root


def find(servers: Mapping[str, Server], name: str) -> Server:
    """The server of that name; raises ``StackError`` if there is none."""
    if name not in servers:
        raise StackError(f"no server is called {name}", f"choose from {', '.join(servers)}")
    return servers[name]


def act(options: argparse.Namespace, stack: Stack) -> int:
    """Do what the command line says; returns the exit status."""
    servers = servers_of(stack)
    if options.command == "settle":
        settle(stack, [find(servers, name) for name in options.names])
        return 0
    server = find(servers, options.name)
    if options.command == "probe":
        fault = probe_fault(server)
        print(fault or "ok")
        return 1 if fault else 0
    if options.command == "exec":
        words = options.words[1:] if options.words[:1] == ["--"] else options.words
        os.execvpe(words[0], words, {**os.environ, **server.env})
    run(stack, server)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return act(options, container_stack(layout_from(), os.environ))
    except StackError as fault:
        print(f"lambda-dl: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # client libraries log every probe that comes too early
    raise SystemExit(main())
