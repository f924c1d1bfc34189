"""The load generator: a closed loop over kept-alive connections in one process, standard library only.

``python -m tests.bench.speed.load`` reads one ``Plan`` as JSON on standard input and answers one ``Load`` as JSON on
standard output. Requests are encoded before the clock starts; every status is checked, and of some answers the values
(after the clock has stopped). A server that closes the connection is connected to anew, and that time counts.
"""

import json
import os
import select
import socket
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CHUNK = 1 << 18
SAMPLED = 200
TOLERANCE = 1e-5
STALLED_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What to send. ``bodies`` is a JSON file with request bodies (texts), ``expected`` probabilities of each.

    ``seconds`` are measured after ``warm_seconds`` that are not. ``core``: the CPU to stay on, -1 for any.
    ``series``: a file for (time of the answer, latency) pairs, float64, on the monotonic clock.
    """

    port: int
    path: str
    bodies: str
    concurrency: int
    seconds: float
    warm_seconds: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)
    core: int = -1
    series: str = ""


@dataclass(frozen=True)
class Load:
    """What came of it: counts over the measured seconds, and latencies in milliseconds."""

    requests: int
    seconds: float
    failed: int
    wrong: int
    checked: int
    connections: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    first_failure: str = ""

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds


def encode_requests(plan: Plan, bodies: Sequence[str]) -> list[bytes]:
    """Whole HTTP/1.1 requests, one a body."""
    lines = [f"POST {plan.path} HTTP/1.1", f"Host: 127.0.0.1:{plan.port}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in plan.headers.items()]
    head = "\r\n".join(lines)
    return [f"{head}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode() for body in bodies]


def answer_end(data: bytes | bytearray) -> int:
    """Where the first answer in ``data`` ends, 0 while it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = bytes(data[:end]).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return end + 4 + length if len(data) >= end + 4 + length else 0
    last = data.find(b"\r\n0\r\n\r\n", end + 2)  # chunked: the last chunk is empty
    return last + 7 if last >= 0 else 0


class Connection:
    """One client of the closed loop: its socket, the request under way, and what has come back of the answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.data = bytearray()
        self.started = 0.0
        self.number = 0
        self.socket = socket.socket()
        self.connect()

    def connect(self) -> None:
        """A fresh connection; blocks no longer than the kernel takes to accept on loopback."""
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=STALLED_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data.clear()


class Generator:
    """Sends until told to stop, keeping what is to be told later."""

    def __init__(self, plan: Plan, requests: list[bytes]) -> None:
        self.plan = plan
        self.requests = requests
        self.sent = self.failed = self.connections = 0
        self.first_failure = ""
        self.ends, self.latencies = array("d"), array("d")
        self.samples: list[tuple[int, bytes]] = []
        self.poll = select.epoll()
        self.by_number: dict[int, Connection] = {}

    def open(self) -> None:
        """Connect every client and send its first request."""
        for _ in range(self.plan.concurrency):
            connection = Connection(self.plan.port)
            self._register(connection)
            self._send(connection)

    def _register(self, connection: Connection) -> None:
        self.connections += 1
        self.by_number[connection.socket.fileno()] = connection
        self.poll.register(connection.socket.fileno(), select.EPOLLIN)

    def _reconnect(self, connection: Connection) -> None:
        self.poll.unregister(connection.socket.fileno())
        del self.by_number[connection.socket.fileno()]
        connection.socket.close()
        connection.connect()
        self._register(connection)

    def _send(self, connection: Connection) -> None:
        connection.number = self.sent % len(self.requests)
        self.sent += 1
        connection.started = time.monotonic()
        connection.socket.sendall(self.requests[connection.number])

    def run(self, until: float) -> None:
        """Answer after answer, until the clock says so."""
        while time.monotonic() < until:
            ready = self.poll.poll(STALLED_SECONDS)
            if not ready:
                raise TimeoutError(f"no answer within {STALLED_SECONDS} s")
            for number, _ in ready:
                self._receive(self.by_number[number])

    def _receive(self, connection: Connection) -> None:
        part = connection.socket.recv(CHUNK)
        connection.data += part
        end = answer_end(connection.data)
        if end:
            self._take(connection, end)
        elif not part:
            self._fail(f"the connection was closed after {len(connection.data)} bytes")
            self._reconnect(connection)
            self._send(connection)

    def _take(self, connection: Connection, end: int) -> None:
        now = time.monotonic()
        answer = bytes(connection.data[:end])
        connection.data.clear()
        self.ends.append(now)
        self.latencies.append(now - connection.started)
        if answer[9:12] != b"200":
            self._fail(answer[:300].decode("utf-8", "replace"))
        elif len(self.samples) < SAMPLED and len(self.ends) % 37 == 1:
            self.samples.append((connection.number, answer))
        if b"\r\nconnection: close\r\n" in answer[: answer.find(b"\r\n\r\n") + 2].lower():
            started = time.monotonic()  # connecting again is part of the next request
            self._reconnect(connection)
            self._send(connection)
            connection.started = started
        else:
            self._send(connection)

    def _fail(self, why: str) -> None:
        self.failed += 1
        self.first_failure = self.first_failure or why

    def forget(self) -> None:
        """Begin to measure: what came before was to warm up. Failures stay."""
        self.ends, self.latencies = array("d"), array("d")


def probabilities(answer: bytes) -> list[float]:
    """The probabilities in a server's answer, whichever form it has."""
    body = answer[answer.find(b"\r\n\r\n") + 4 :]
    document: Any = json.loads(body[body.find(b"{") : body.rfind(b"}") + 1])
    if "predictions" in document:
        return [prediction["probability"] for prediction in document["predictions"]]
    return [float(value) for value in document["probabilities"]]


def wrong_answers(samples: Sequence[tuple[int, bytes]], expected: Sequence[Sequence[float]]) -> int:
    """How many of the sampled answers are not what the network says."""
    return sum(not close(probabilities(answer), expected[number]) for number, answer in samples)


def close(given: Sequence[float], wanted: Sequence[float]) -> bool:
    """As many numbers, and each near its own."""
    return len(given) == len(wanted) and all(abs(a - b) <= TOLERANCE for a, b in zip(given, wanted, strict=True))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of sorted values."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def generate(plan: Plan) -> Load:
    """Run a plan in this process."""
    document = json.loads(Path(plan.bodies).read_text())
    generator = Generator(plan, encode_requests(plan, document["bodies"]))
    generator.open()
    generator.run(time.monotonic() + plan.warm_seconds)
    generator.forget()
    start = time.monotonic()
    generator.run(start + plan.seconds)
    seconds = time.monotonic() - start
    if plan.series:
        pairs = array("d", [value for pair in zip(generator.ends, generator.latencies, strict=True) for value in pair])
        Path(plan.series).write_bytes(pairs.tobytes())
    ordered = sorted(generator.latencies)
    wrong = wrong_answers(generator.samples, document["expected"]) if document["expected"] else 0
    return Load(
        requests=len(ordered),
        seconds=seconds,
        failed=generator.failed,
        wrong=wrong,
        checked=len(generator.samples) if document["expected"] else 0,
        connections=generator.connections,
        p50_ms=quantile(ordered, 0.5) * 1000,
        p99_ms=quantile(ordered, 0.99) * 1000,
        max_ms=quantile(ordered, 1.0) * 1000,
        first_failure=generator.first_failure,
    )


if __name__ == "__main__":
    given = Plan(**json.load(sys.stdin))
    if given.core >= 0:
        os.sched_setaffinity(0, {given.core})
    json.dump(asdict(generate(given)), sys.stdout)
