"""A door before S3: every request goes through to the real server, and one write is the moment at which a process dies.

It counts the writes that others can see: the commits of Delta tables (what is written before one is nothing to anybody
until then), and every object that a run puts into the models bucket beside its search's own. What a client signed stays
as it was.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from typing import Any
from urllib.parse import urlsplit

from pytest import MonkeyPatch

COMMIT = re.compile(
    r"/_delta_log/\d{20}\.json(?:\?.*)?$|^/models/[^/]+/(?:bundles|ledger|refusals)/|^/models/[^/]+/searches/[^/]+/\w+\.json"
)
PATIENCE_S = 1200
#: Said to the next hop alone.
HOP = frozenset({"connection", "keep-alive", "expect", "transfer-encoding"})


@dataclass
class Door:
    """``victim``, a process group, is killed at the commit number ``kill_at``, before it is made (``after``: when it
    is made and the server has said so). 0 kills nobody. ``counted``: which writes are commits. ``environment``: how a
    process finds the door instead of the server."""

    environment: Mapping[str, str]
    counted: re.Pattern[str] = COMMIT
    kill_at: int = 0
    after: bool = False
    victim: int = 0
    commits: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ready(self, kill_at: int, after: bool = False) -> None:
        """Count anew."""
        self.kill_at, self.after, self.victim, self.commits = kill_at, after, 0, []

    def count(self, write: str) -> int:
        """Which commit since ``ready`` a write is; 0 if it is none."""
        if not self.counted.search(write):
            return 0
        with self.lock:
            self.commits.append(write)
            return len(self.commits)

    def kill(self) -> None:
        """As ``kill -9`` does: nothing of the process group goes on."""
        os.killpg(self.victim, signal.SIGKILL)


class Handler(BaseHTTPRequestHandler):
    """Passes one connection's requests on."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def pass_on(self) -> None:
        """Let a request through, unless somebody dies of it, or is dead."""
        body = self.whole_body()
        door = self.server.door
        number = door.count(self.path) if self.command == "PUT" else 0
        meant = bool(number) and number == door.kill_at
        if meant and not door.after:
            door.kill()
        if meant and door.after:
            self.asked(body)
            door.kill()
        # What still comes from somebody dead came too late.
        if door.kill_at and number >= door.kill_at:
            self.close_connection = True
            return
        self.answer(*self.asked(body))

    def whole_body(self) -> bytes:
        """What the client sends, by its length or in chunks."""
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the real server says: status, headers, content."""
        connection = HTTPConnection(self.server.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            if "Content-Length" not in self.headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        """Say it to the client; the length that an answer to HEAD tells is the object's."""
        left_out = HOP if self.command == "HEAD" else HOP | {"content-length"}
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in left_out:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: thousands of requests pass."""


class Server(ThreadingHTTPServer):
    """Listens on a loopback port of its own for what is meant for ``behind`` (host and port)."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind, self.door = behind, Door({"S3_ENDPOINT": f"http://127.0.0.1:{self.server_port}"})

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that was killed leaves broken connections."""


def run_alone(door: Door, function: Callable[..., Any], *arguments: Any) -> int:
    """Call a function in a process of its own, whose server is the door, which may kill it; returns its exit code."""
    with MonkeyPatch.context() as patch:
        for name, value in door.environment.items():
            patch.setenv(name, value)
        process = get_context("spawn").Process(target=_in_its_own_group, args=(function, arguments))
        process.start()
    assert process.pid is not None
    door.victim = process.pid
    process.join(PATIENCE_S)
    assert process.exitcode is not None, f"neither done nor dead after {PATIENCE_S} s"
    return process.exitcode


def _in_its_own_group(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """In the new process: whoever kills its group kills the JVM too."""
    os.setsid()
    function(*arguments)


@contextmanager
def door_to(endpoint: str) -> Iterator[Door]:
    """A door to the S3 server at ``endpoint``."""
    with Server(urlsplit(endpoint).netloc) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.door
        server.shutdown()
