"""The ASGI application in front of Flask: it holds the batcher that answers predict requests, and gives Flask the rest.

A predict request comes to ``ask`` from the server's own protocol (see ``protocol``); one that came in an unusual form
is answered by Flask like everything else, by the same validator and predictor. It knows HTTP as ASGI presents it.
"""

import asyncio
import hmac
import io
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask
from werkzeug.test import run_wsgi_app

from speed_service.answering import JSON, body_too_large, check_head
from speed_service.batcher import Batcher, Told
from speed_service.problems import Problem
from speed_service.service import Service

FLASK_THREADS = 4

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Front:
    """The application that uvicorn runs."""

    def __init__(self, app: Flask, service: Service) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(FLASK_THREADS, "flask")
        self._batcher = Batcher(service)
        self._usual = (f"Bearer {service.config.token}".encode(), JSON.encode())
        self._dated: tuple[object, bytes] = (None, b"")
        self.service = service
        self.path = f"/v1/{service.use_case.name}/predict".encode()

    def ask(self, headers: Mapping[bytes, bytes], body: bytes, told: Told) -> None:
        """Check a predict request (names of headers in lower case) and have ``told`` called with its answer.

        Raises ``Problem`` when the request is at fault, or too many wait.
        """
        given = headers.get(b"authorization", b""), headers.get(b"content-type", b"")
        # The usual head, byte for byte, is checked at once; any other is looked at more closely.
        if not hmac.compare_digest(given[0], self._usual[0]) or given[1] != self._usual[1]:
            check_head(self.service, *(text.decode("latin-1") for text in given))
        self._batcher.ask(self.service.reader.read(body), told)

    def announces_too_much(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the head says that the body is too long (the parser has seen to it that a length is a number)."""
        return int(headers.get(b"content-length", b"0")) > self.service.config.max_body_bytes

    def lines_of(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Headers that every response has, as lines; uvicorn makes another list of them each second."""
        if self._dated[0] is not headers:
            self._dated = headers, b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return self._dated[1]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or follow the life of the worker."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await asyncio.to_thread(self.service.stop_background)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Let Flask answer, in a thread of its own."""
        try:
            body = await self._body(scope, receive)
        except Problem as problem:
            await _respond(send, problem.status, [*problem.head(), ("connection", "close")], problem.body())
            return
        if body is None:
            return
        loop = asyncio.get_running_loop()
        parts, status, found = await loop.run_in_executor(
            self._threads, run_wsgi_app, self._app, wsgi_environ(scope, body), True
        )
        await _respond(send, int(status.partition(" ")[0]), list(found), b"".join(parts))

    async def _body(self, scope: Mapping[str, Any], receive: Receive) -> bytes | None:
        """The request's body, None if the client has gone; raises ``Problem`` as soon as it is too long."""
        if self.announces_too_much(dict(scope["headers"])):
            raise body_too_large(self.service)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.service.config.max_body_bytes:
                raise body_too_large(self.service)
            if not message.get("more_body", False):
                return bytes(body)


async def _respond(send: Send, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
    kept = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if b"content-length" not in dict(kept) and status not in (204, 304):
        kept.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": body})


def wsgi_environ(scope: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """A request as WSGI (PEP 3333) has it."""
    host, port = scope["server"] or ("", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope["client"] or ("", 0))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw, value in scope["headers"]:
        key = raw.decode("latin-1").upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value.decode("latin-1")
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
