"""A door before MySQL: every packet goes through to the real server, and one statement is the moment somebody dies.

It counts the statements that a test has asked for. What is written in a transaction is nothing to anybody until its
COMMIT, as a statement of its own is once it is made.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.recovery.door import Door

#: The first byte of a packet that carries a statement as text.
QUERY = b"\x03"
COMMENTS = re.compile(rb"\A(?:\s|--[^\n]*\n|/\*.*?\*/)*", re.DOTALL)
#: How much of a statement tells which it is.
TOLD = 200
PATIENCE_S = 60


class Handler(BaseRequestHandler):
    """Passes one connection's packets on."""

    request: socket.socket
    server: "Server"

    def handle(self) -> None:
        """Until one of the two sides goes, or somebody dies."""
        answered = threading.Event()
        with socket.create_connection(self.server.behind) as behind:
            threading.Thread(target=pass_back, args=(behind, self.request, answered), daemon=True).start()
            self.pass_on(behind, answered)
            # Closing alone would wait for the thread that reads, and the lock of somebody dead with it.
            with suppress(OSError):
                behind.shutdown(socket.SHUT_RDWR)

    def pass_on(self, behind: socket.socket, answered: threading.Event) -> None:
        """Every packet, up to the one that somebody dies of."""
        door = self.server.door
        while packet := read_packet(self.request):
            number = door.count(statement_of(packet))
            meant = bool(number) and number == door.kill_at
            if meant and not door.after:
                door.kill()
            # What still comes from somebody dead came too late.
            if door.kill_at and number >= door.kill_at and not (meant and door.after):
                return
            answered.clear()
            behind.sendall(packet)
            if meant:
                answered.wait(PATIENCE_S)
                door.kill()
                return


def statement_of(packet: bytes) -> str:
    """The beginning of a packet's statement without its comments; empty if it carries none."""
    if packet[4:5] != QUERY:
        return ""
    text = packet[5:]
    return " ".join(text[COMMENTS.match(text).end() :][:TOLD].decode(errors="replace").split())  # type: ignore[union-attr]


def read_packet(source: socket.socket) -> bytes:
    """One packet with its header; empty at the end of the connection."""
    header = read_exactly(source, 4)
    return header and header + read_exactly(source, int.from_bytes(header[:3], "little"))


def read_exactly(source: socket.socket, size: int) -> bytes:
    """So many bytes; empty if the connection ends before."""
    found = bytearray()
    while len(found) < size:
        try:
            part = source.recv(size - len(found))
        except OSError:
            return b""
        if not part:
            return b""
        found += part
    return bytes(found)


def pass_back(source: socket.socket, target: socket.socket, answered: threading.Event) -> None:
    """What the server says, until one of the two sides goes."""
    try:
        while part := source.recv(65536):
            target.sendall(part)
            answered.set()
    except OSError:
        pass


class Server(ThreadingTCPServer):
    """Listens on a loopback port of its own for what is meant for ``behind``."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        own = str(self.server_address[1])
        self.behind, self.door = (host, port), Door({"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": own})

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that was killed leaves broken connections."""


@contextmanager
def door_to_mysql(host: str, port: int) -> Iterator[Door]:
    """A door to the MySQL server there."""
    with Server(host, port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.door
        server.shutdown()
