"""The RSGI application in front of Flask: predict requests are answered on the event loop, the rest goes to Flask.

Requests that arrive while the loop computes wait together and are computed as one batch next; a lone one waits for
nobody. It knows HTTP as granian presents it; what a request means is ``answering``'s.
"""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # granian exports it without saying so
from werkzeug.test import run_wsgi_app

from speed_service.answering import JSON, answer, body_too_large, check_head, encoded
from speed_service.predictor import Answer
from speed_service.problems import PROBLEM_JSON, Problem, internal_error
from speed_service.queries import Query
from speed_service.service import Service

log = logging.getLogger(__name__)

#: Subjects that may wait at once, and at most be computed together; a longer queue would only make all of them late.
MOST_WAITING = 20_000
MOST_TOGETHER = 1024
FLASK_THREADS = 4
HEADERS = [("content-type", JSON)]


class Batcher:
    """Computes the queries of all waiting requests together, on the loop that runs it."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._waiting: list[tuple[Sequence[Query], asyncio.Future[Answer]]] = []
        self._subjects = 0

    def ask(self, queries: Sequence[Query]) -> "asyncio.Future[Answer]":
        """The answer to come; raises ``Problem`` when too many wait already."""
        if self._subjects + len(queries) > MOST_WAITING:
            detail = f"{self._subjects} subjects are waiting: try again"
            raise Problem(503, "overloaded", "Service Unavailable", detail, headers=(("Retry-After", "1"),))
        if not self._waiting:
            # Not in this turn of the loop but in the next one but one: what is being read meanwhile joins.
            self._loop.call_soon(self._loop.call_soon, self._compute)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((queries, future))
        self._subjects += len(queries)
        return future

    def _compute(self) -> None:
        """Answer what waits, as far as one batch goes, and come again for the rest."""
        self._service.telemetry.waiting.set(self._subjects)
        together = self._next()
        try:
            self._answer(together)
        except Problem as problem:
            _fail(together, problem)
        except Exception:
            self._one_by_one(together)
        if self._waiting:
            self._loop.call_soon(self._compute)

    def _next(self) -> list[tuple[Sequence[Query], "asyncio.Future[Answer]"]]:
        taken = subjects = 0
        for queries, _ in self._waiting:
            if taken and subjects + len(queries) > MOST_TOGETHER:
                break
            taken, subjects = taken + 1, subjects + len(queries)
        together, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._subjects -= subjects
        return together

    def _answer(self, together: Sequence[tuple[Sequence[Query], "asyncio.Future[Answer]"]]) -> None:
        whole = answer(self._service, [query for queries, _ in together for query in queries]).answer
        at = 0
        for queries, future in together:
            if not future.done():  # a client that has gone has cancelled it
                future.set_result(Answer(whole.model_id, whole.predictions[at : at + len(queries)]))
            at += len(queries)

    def _one_by_one(self, together: Sequence[tuple[Sequence[Query], "asyncio.Future[Answer]"]]) -> None:
        """One request's queries broke the batch: the others shall not pay for it."""
        for request in together:
            try:
                self._answer([request])
            except Exception as error:
                _fail([request], error)


def _fail(requests: Sequence[tuple[Sequence[Query], "asyncio.Future[Answer]"]], error: Exception) -> None:
    for _, future in requests:
        if not future.done():
            future.set_exception(error)


class Front:
    """The application that granian runs (``--interface rsgi``)."""

    def __init__(self, app: Flask, service: Service) -> None:
        self._app = app
        self._service = service
        self._path = f"/v1/{service.use_case.name}/predict"
        self._threads = ThreadPoolExecutor(FLASK_THREADS, "flask")
        self._batcher: Batcher | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called once by each worker with its loop."""
        self._batcher = Batcher(self._service, loop)

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Called by a worker that is about to end."""
        self._service.stop_background()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        try:
            if scope.proto != "http":
                protocol.close(404)
            elif scope.method == "POST" and scope.path == self._path:
                await self._predict(scope, protocol)
            else:
                await self._elsewhere(scope, protocol)
        except ProtocolClosed:
            log.debug("a client has gone in the middle of its request")

    async def _predict(self, scope: Any, protocol: Any) -> None:
        started = time.perf_counter()
        try:
            status, headers, body = 200, HEADERS, await self._answered(scope, protocol)
        except Problem as problem:
            self._service.telemetry.rejected.labels(problem.kind).inc()
            status, headers, body = _told(problem)
        except ProtocolClosed:
            raise
        except Exception:
            log.exception("unhandled error in a request")
            status, headers, body = _told(internal_error())
        protocol.response_bytes(status, headers, body)
        self._service.telemetry.latency.observe(time.perf_counter() - started)

    async def _answered(self, scope: Any, protocol: Any) -> bytes:
        headers = scope.headers
        check_head(self._service, headers.get("authorization", ""), headers.get("content-type", ""))
        queries = self._service.reader.read(await self._body(headers, protocol))
        assert self._batcher is not None  # granian has called __rsgi_init__
        return encoded(await self._batcher.ask(queries))

    async def _body(self, headers: Any, protocol: Any) -> bytes:
        """The request's body; raises ``Problem`` as soon as it is too long."""
        most = self._service.config.max_body_bytes
        length = headers.get("content-length")
        # A chunked body may be of any length, whatever else the head says.
        if length is not None and length.isdecimal() and "transfer-encoding" not in headers:
            if int(length) > most:
                raise body_too_large(self._service)
            return bytes(await protocol())
        parts, size = [], 0
        async for part in protocol:
            size += len(part)
            if size > most:
                raise body_too_large(self._service)
            parts.append(part)
        return b"".join(parts)

    async def _elsewhere(self, scope: Any, protocol: Any) -> None:
        """Let Flask answer, in a thread of its own."""
        try:
            body = await self._body(scope.headers, protocol)
        except Problem as problem:
            protocol.response_bytes(*_told(problem))
            return
        loop = asyncio.get_running_loop()
        parts, status, headers = await loop.run_in_executor(
            self._threads, run_wsgi_app, self._app, wsgi_environ(scope, body), True
        )
        kept = [(name.lower(), value) for name, value in headers if name.lower() != "content-length"]
        protocol.response_bytes(int(status.partition(" ")[0]), kept, b"".join(parts))


def _told(problem: Problem) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = [("content-type", PROBLEM_JSON), *((name.lower(), value) for name, value in problem.headers)]
    return problem.status, headers, problem.body()


def wsgi_environ(scope: Any, body: bytes) -> dict[str, Any]:
    """A request as WSGI (PEP 3333) has it."""
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
