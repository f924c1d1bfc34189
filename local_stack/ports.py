"""Which server listens on which port: one base, one fixed offset a server.

`LAMBDA_DL_PORT_BASE` sets the base; the state folder remembers it. Two checkouts run side by side on two bases at
least 200 apart. Knows no server beyond its name.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from local_stack.faults import StackError
from local_stack.secret_store import write_private

SETTING = "LAMBDA_DL_PORT_BASE"
DEFAULT_BASE = 21000
LOOPBACK = "127.0.0.1"
SPAN = 200
# SeaweedFS opens each port + 10000 as well, and from 32768 the kernel hands out ports to clients.
SEAWEED_GRPC = 10000
LOWEST, HIGHEST = 1024, 32767 - SEAWEED_GRPC - SPAN

OFFSETS: dict[str, int] = {
    "airflow-api": 0,
    "predictor": 1,
    "superset": 2,
    "predictor-2": 3,
    "s3": 10,
    "s3-master": 11,
    "s3-filer": 12,
    "s3-volume": 13,
    "kafka": 20,
    "kafka-controller": 21,
    "kafka-2": 22,
    "kafka-2-controller": 23,
    "kafka-3": 24,
    "kafka-3-controller": 25,
    "mysql": 30,
    "metastore": 40,
    "hiveserver2": 50,
    "ray-gcs": 60,
    "ray-dashboard": 61,
    "ray-client": 62,
    "ray-agent": 63,
    "ray-agent-grpc": 64,
    "ray-node": 65,
    "ray-objects": 66,
    "ray-runtime-env": 67,
    "ray-metrics": 68,
    "ray-autoscaler-metrics": 69,
    "ray-dashboard-metrics": 70,
    "spark-master": 80,
    "spark-master-page": 81,
    "spark-worker-1": 82,
    "spark-worker-1-page": 83,
    "spark-worker-2": 84,
    "spark-worker-2-page": 85,
    "ray-worker-1-agent": 86,
    "ray-worker-1-agent-grpc": 87,
    "ray-worker-1-node": 88,
    "ray-worker-1-objects": 89,
    "ray-worker-1-runtime-env": 90,
    "ray-worker-1-metrics": 91,
    "ray-worker-2-agent": 92,
    "ray-worker-2-agent-grpc": 93,
    "ray-worker-2-node": 94,
    "ray-worker-2-objects": 95,
    "ray-worker-2-runtime-env": 96,
    "ray-worker-2-metrics": 97,
}
#: From here on the predictors of the second use case and those behind it, one port each.
FURTHER = (71, 79)
RAY_WORKERS = (100, 199)  # one port a Ray worker process


@dataclass(frozen=True)
class Ports:
    """All ports of one stack, and where they are: here on loopback alone."""

    base: int
    #: Servers that this stack has beside those of ``OFFSETS``, in the order of their ports.
    further: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.further) > FURTHER[1] - FURTHER[0] + 1:
            raise StackError(f"{len(self.further)} more servers need ports", "give them a stack of their own")

    @property
    def bind(self) -> str:
        """The address that a server listens at."""
        return LOOPBACK

    def __getitem__(self, name: str) -> int:
        offset = OFFSETS[name] if name in OFFSETS else FURTHER[0] + self.further.index(name)
        return self.base + offset

    def host(self, name: str) -> str:
        """Where others find a server."""
        return LOOPBACK

    def address(self, name: str) -> str:
        return f"{self.host(name)}:{self[name]}"

    def addresses(self, names: Iterable[str]) -> str:
        """Several as one text, as Kafka's clients take them."""
        return ",".join(map(self.address, names))

    def url(self, name: str) -> str:
        return f"http://{self.address(name)}"

    @property
    def ray_workers(self) -> tuple[int, int]:
        return self.base + RAY_WORKERS[0], self.base + RAY_WORKERS[1]

    def share_of_ray_workers(self, number: int, of: int) -> tuple[int, int]:
        """The ports of one of several nodes' worker processes, from 0."""
        first, last = self.ray_workers
        each = (last - first + 1) // of
        return first + number * each, first + (number + 1) * each - 1

    def listening(self, names: Iterable[str]) -> dict[int, str]:
        """Every port that these servers open, with the name of who opens it."""
        opened = {self[name]: name for name in names}
        grpc = {self[name] + SEAWEED_GRPC: f"{name} (gRPC)" for name in opened.values() if name.startswith("s3")}
        return opened | grpc


def parse_base(text: str) -> int:
    """The base as a number, or a clear refusal."""
    if not text.isdecimal() or not LOWEST <= int(text) <= HIGHEST:
        raise StackError(f"{SETTING}={text!r} is no usable base", f"set it to a number from {LOWEST} to {HIGHEST}")
    return int(text)


def choose_base(memory: Path, environment: dict[str, str] | None = None) -> int:
    """The base that is asked for, else the remembered one, else the default."""
    env = dict(os.environ) if environment is None else environment
    asked = env.get(SETTING)
    if asked:
        return parse_base(asked)
    return parse_base(memory.read_text().strip()) if memory.is_file() else DEFAULT_BASE


def remember_base(memory: Path, base: int) -> None:
    write_private(memory, f"{base}\n")


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def refuse_taken(ports: Ports, names: Iterable[str]) -> None:
    """Raise on the first port that somebody else holds."""
    for port, owner in sorted(ports.listening(names).items()):
        if not is_free(port):
            raise StackError(
                f"port {port}, which {owner} needs, is taken{_by_whom(port)}",
                f"stop what listens there, or set {SETTING} to another base (now {ports.base}) and run it again",
            )


def _by_whom(port: int) -> str:
    import psutil

    for connection in psutil.net_connections(kind="tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
