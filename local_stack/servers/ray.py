"""Ray: a head node with its job API, and as many nodes besides it as the profile says; every call needs the token.

On one machine all its ports stay on loopback, for which Ray has one switch (see ``_env``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from local_stack.environment import process_env
from local_stack.ports import LOOPBACK
from local_stack.stack import Server, Stack

OBJECT_STORE_BYTES = 300 * 1024 * 1024
PORT_NAMES = (
    *("ray-gcs", "ray-dashboard", "ray-client", "ray-agent", "ray-agent-grpc", "ray-node", "ray-objects"),
    *("ray-runtime-env", "ray-metrics", "ray-autoscaler-metrics", "ray-dashboard-metrics"),
)


#: A node besides the head: what its ports are called, and the option that sets each.
NODE_PORTS = {
    "agent": "dashboard-agent-listen-port",
    "agent-grpc": "dashboard-agent-grpc-port",
    "node": "node-manager-port",
    "objects": "object-manager-port",
    "runtime-env": "runtime-env-agent-port",
    "metrics": "metrics-export-port",
}
#: What a node of a cluster has in its environment: the token and the S3 keys, which never travel with a job.
NODE_ENVIRONMENT = (
    *("PATH", "PYTHONUNBUFFERED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "S3_ACCESS_KEY", "S3_SECRET_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"),
)


def ray_cluster(stack: Stack) -> tuple[Server, ...]:
    """The head and the nodes besides it."""
    return (_head(stack), *(_node(stack, name) for name in stack.profile.workers_of_ray))


def _node(stack: Stack, name: str) -> Server:
    known = process_env(stack)
    return Server(
        name=name,
        address=stack.ports.address(f"{name}-node"),
        port_names=tuple(f"{name}-{port}" for port in NODE_PORTS),
        needs=("ray",),
        command=_node_command(stack, name),
        env={**{key: known[key] for key in NODE_ENVIRONMENT}, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        prepare=lambda: _node_folder(stack, name).mkdir(mode=0o700, exist_ok=True),
        probe=lambda: _probe_node(stack, name),
        on_demand=True,
        start_limit_s=300,
        stop_as_group=True,
    )


def _node_command(stack: Stack, name: str) -> tuple[str, ...]:
    return (
        *(str(stack.layout.python), "-m", "local_stack.ray_node", "start", "--block", "--disable-usage-stats"),
        *(f"--address={stack.ports.address('ray-gcs')}", f"--node-ip-address={LOOPBACK}", f"--node-name={name}"),
        *(f"--{option}={stack.ports[f'{name}-{port}']}" for port, option in NODE_PORTS.items()),
        *_worker_ports(stack, 1 + stack.profile.workers_of_ray.index(name)),
        "--num-cpus=1",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={_node_folder(stack, name)}",
    )


def _node_folder(stack: Stack, name: str) -> Path:
    """Short, since the paths of its sockets are bounded."""
    return stack.short_state() / "data" / name.replace("worker-", "")


def _worker_ports(stack: Stack, number: int) -> tuple[str, str]:
    first, last = stack.ports.share_of_ray_workers(number, 1 + stack.profile.ray_workers)
    return f"--min-worker-port={first}", f"--max-worker-port={last}"


def _head(stack: Stack) -> Server:
    return Server(
        name="ray",
        address=stack.ports.url("ray-dashboard"),
        port_names=PORT_NAMES,
        command=_command(stack),
        env=_env(stack),
        prepare=lambda: (stack.layout.data / "ray").mkdir(mode=0o700, exist_ok=True),
        probe=lambda: _probe(stack),
        on_demand=True,
        start_limit_s=300,
        stop_as_group=True,
    )


def _env(stack: Stack) -> dict[str, str]:
    # RAY_ADDRESS names the job API here; Ray's own processes would take it for a cluster to join.
    values = {k: v for k, v in process_env(stack).items() if k != "RAY_ADDRESS"}
    # Without it Ray replaces 127.0.0.1 by the machine's outer address and listens there
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if stack.ports.bind == LOOPBACK else {}
    return {
        **values,
        **alone,
        "AUTOSCALER_METRIC_PORT": str(stack.ports["ray-autoscaler-metrics"]),
        "DASHBOARD_METRIC_PORT": str(stack.ports["ray-dashboard-metrics"]),
    }


def _command(stack: Stack) -> tuple[str, ...]:
    ports = stack.ports
    return (
        *(str(stack.layout.bin / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *((f"--node-ip-address={LOOPBACK}",) if ports.bind == LOOPBACK else ()),
        *(f"--dashboard-host={ports.bind}", "--include-dashboard=true"),
        f"--port={ports['ray-gcs']}",
        f"--dashboard-port={ports['ray-dashboard']}",
        f"--ray-client-server-port={ports['ray-client']}",
        f"--dashboard-agent-listen-port={ports['ray-agent']}",
        f"--dashboard-agent-grpc-port={ports['ray-agent-grpc']}",
        f"--node-manager-port={ports['ray-node']}",
        f"--object-manager-port={ports['ray-objects']}",
        f"--runtime-env-agent-port={ports['ray-runtime-env']}",
        f"--metrics-export-port={ports['ray-metrics']}",
        *_worker_ports(stack, 0),
        # Where there are other nodes, they compute: what they do crosses from one to the other.
        f"--num-cpus={0 if stack.profile.ray_workers else 2}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={stack.short_state() / 'data' / 'ray'}",
    )


def _ask(stack: Stack, path: str) -> Any:
    import requests

    headers = {"Authorization": f"Bearer {stack.secrets['ray_auth_token']}"}
    answer = requests.get(f"{stack.ports.url('ray-dashboard')}{path}", headers=headers, timeout=5)
    answer.raise_for_status()
    return answer.json()


def _probe(stack: Stack) -> None:
    _ask(stack, "/api/jobs/")


def _probe_node(stack: Stack, name: str) -> None:
    """The head knows a living node of this name."""
    nodes = _ask(stack, "/api/v0/nodes?detail=1")["data"]["result"]["result"]
    if not any(node["node_name"] == name and node["state"] == "ALIVE" for node in nodes):
        raise ConnectionError(f"the head knows no living node {name}")
