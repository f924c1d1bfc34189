"""The quick way through HTTP: uvicorn's protocol, but predict requests are answered without a task of their own.

uvicorn reads the bytes, keeps connections alive and ends them; a plain ``POST`` to the predict route goes from its
parser straight to the batcher. All other requests, and predict requests in an unusual form (HTTP/1.0, ``Expect``, sent
before the last one was answered), go uvicorn's usual way to the application. It builds upon the inside of
``uvicorn.protocols.http.httptools_impl``, so uvicorn's version is pinned. It does not know what a request means.
"""

import asyncio
import logging
import time
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from speed_service.answering import JSON, body_too_large, encoded
from speed_service.front import Front
from speed_service.predictor import Answer
from speed_service.problems import Problem, internal_error

log = logging.getLogger(__name__)

#: A request's head may have this many bytes, and the whole of a request may take this many seconds to come; a
#: connection on which none has begun is closed as late.
MOST_HEAD_BYTES = 64 * 1024
READ_SECONDS = 30.0
JSON_LINE = f"content-type: {JSON}\r\n".encode()

_NOBODY_WAITS = asyncio.Event()


class _Request:
    """A predict request under way. It has what uvicorn's protocol asks of the cycle of any request."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "message_event", "response_complete")

    def __init__(self, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.response_complete = self.disconnected = False
        self.message_event = _NOBODY_WAITS


class PredictProtocol(HttpToolsProtocol):
    """One connection. ``app`` is the ``Front`` that uvicorn has loaded."""

    app: Front
    cycle: Any

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; from now on it has to send."""
        super().connection_made(transport)
        self._head_bytes, self._in_head = 0, True
        #: Since when the client has had to send; None while it waits for an answer.
        self._waiting_since: float | None = self.loop.time()
        self._watch = self.loop.call_later(READ_SECONDS, self._give_up_on_the_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._watch.cancel()
        super().connection_lost(exc)

    def _give_up_on_the_slow(self) -> None:
        if self._waiting_since is not None and self.loop.time() - self._waiting_since >= READ_SECONDS:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(READ_SECONDS, self._give_up_on_the_slow)

    def data_received(self, data: bytes) -> None:
        """Bytes of one request or more."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The head of the request has more than {MOST_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Choose the way."""
        self._head_bytes, self._in_head = 0, False
        request = self._predict_request()
        if request is None:
            super().on_headers_complete()
        else:
            self.cycle = request

    def _predict_request(self) -> _Request | None:
        """The request, if the quick way is for it."""
        parser = self.parser
        if self.url != self.app.path or parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        if self.expect_100_continue or parser.should_upgrade() or self.flow.write_paused:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            return None
        headers = dict(self.headers)
        # The application tells so before the body has come.
        if self.app.announces_too_much(headers):
            return None
        return _Request(headers, parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """A part of the body; a chunked one may turn out too long only here."""
        request = self.cycle
        if not isinstance(request, _Request):
            super().on_body(body)
        elif not request.response_complete:
            request.body += body
            if len(request.body) > self.app.service.config.max_body_bytes:
                request.keep_alive = False
                self._tell(request, body_too_large(self.app.service))

    def on_message_complete(self) -> None:
        """The request is there."""
        self._waiting_since, self._in_head = None, True
        request = self.cycle
        if not isinstance(request, _Request):
            super().on_message_complete()
        elif not request.response_complete:
            self._ask(request)

    def on_response_complete(self) -> None:
        """An answer is out: unless its next request is here, the client has to send again."""
        has_sent = bool(self.pipeline)
        super().on_response_complete()
        if not has_sent:
            self._waiting_since = self.loop.time()

    def _ask(self, request: _Request) -> None:
        started = time.perf_counter()
        try:
            self.app.ask(request.headers, bytes(request.body), partial(self._answered, request, started))
        except Exception as error:
            self._answered(request, started, error)

    def _answered(self, request: _Request, started: float, given: Answer | Exception) -> None:
        # Of a connection that was closed uvicorn tells its newest request alone.
        if request.disconnected or self.transport.is_closing():
            return
        if isinstance(given, Answer):
            self._respond(request, 200, JSON_LINE, encoded(given))
        elif isinstance(given, Problem):
            self._tell(request, given)
        else:
            log.error("unhandled error in a request", exc_info=given)
            self._tell(request, internal_error())
        self.app.service.telemetry.latency.observe(time.perf_counter() - started)

    def _tell(self, request: _Request, problem: Problem) -> None:
        if problem.status != 500:
            self.app.service.telemetry.rejected.labels(problem.kind).inc()
        lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in problem.head())
        self._respond(request, problem.status, lines.encode(), problem.body())

    def _respond(self, request: _Request, status: int, headers: bytes, body: bytes) -> None:
        closing = b"" if request.keep_alive else b"connection: close\r\n"
        dated = self.app.lines_of(self.server_state.default_headers)
        head = b"%b%b%b%bcontent-length: %d\r\n\r\n" % (STATUS_LINE[status], dated, headers, closing, len(body))
        self.transport.write(head + body)
        request.response_complete = True
        if closing:
            self.transport.close()
        if self.pipeline:
            self.on_response_complete()  # which starts the next
        else:
            self.server_state.total_requests += 1
            self._waiting_since = self.loop.time()
