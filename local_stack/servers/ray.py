"""Ray: one head node with its job API; every call needs the token.

Several of Ray's own ports listen on all interfaces whatever address it is given; the token is what guards them.
"""

from __future__ import annotations

from local_stack.environment import process_env
from local_stack.ports import LOOPBACK
from local_stack.stack import Server, Stack

OBJECT_STORE_BYTES = 300 * 1024 * 1024
PORT_NAMES = (
    *("ray-gcs", "ray-dashboard", "ray-client", "ray-agent", "ray-agent-grpc", "ray-node", "ray-objects"),
    *("ray-runtime-env", "ray-metrics", "ray-autoscaler-metrics", "ray-dashboard-metrics"),
)


def ray(stack: Stack) -> Server:
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
    first_worker, last_worker = ports.ray_workers
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
        f"--min-worker-port={first_worker}",
        f"--max-worker-port={last_worker}",
        "--num-cpus=2",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={stack.short_state() / 'data' / 'ray'}",
    )


def _probe(stack: Stack) -> None:
    import requests

    headers = {"Authorization": f"Bearer {stack.secrets['ray_auth_token']}"}
    requests.get(f"{stack.ports.url('ray-dashboard')}/api/jobs/", headers=headers, timeout=5).raise_for_status()
