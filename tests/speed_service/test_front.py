"""The way in: Flask's answers, computed together; limits; nobody pays for somebody else's fault.

Bytes are given to the server's own protocol, one connection a request, by a stand-in for the socket alone: whatever
reads, parses, computes and writes is what runs in production. The real sockets are in test_with_servers.
"""

import asyncio
import http.client
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from speed_service import batcher as batcher_module
from speed_service import protocol as protocol_module
from speed_service.app import service_of
from speed_service.batcher import Batcher
from speed_service.front import Front
from speed_service.predictor import Answer
from speed_service.protocol import MOST_HEAD_BYTES, PredictProtocol
from speed_service.queries import Query, check_subject
from tests.speed_service.conftest import TOKEN, World, subject

PATH = "/v1/flight_delay/predict"
HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
PATIENCE = 20.0


class Socket(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed, "nothing is written after the end"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.written)


@dataclass(frozen=True)
class Response:
    """What came back on one connection, and whether it was closed then."""

    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def parsed(socket: Socket) -> Response | None:
    """The first response on a connection, None while it is not complete."""
    try:
        response = http.client.HTTPResponse(socket)  # type: ignore[arg-type]
        response.begin()
        body = response.read()
    except (http.client.IncompleteRead, http.client.BadStatusLine, ValueError):
        return None
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Response(response.status, headers, body, socket.closed)


@dataclass(frozen=True)
class Request:
    body: bytes = b""
    path: str = PATH
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: dict(HEADERS))
    chunked: int = 0
    version: str = "1.1"

    def wire(self) -> bytes:
        """The whole request as it goes over the wire."""
        length = {"transfer-encoding": "chunked"} if self.chunked else {"content-length": str(len(self.body))}
        lines = [f"{self.method} {self.path} HTTP/{self.version}", "Host: here"]
        lines += [f"{name}: {value}" for name, value in {**length, **self.headers}.items()]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head + (b"".join(self.chunks()) if self.chunked else self.body)

    def chunks(self) -> list[bytes]:
        parts = [self.body[n : n + self.chunked] for n in range(0, len(self.body), self.chunked)]
        return [b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""]]


def ask(*items: Any, **changes: Any) -> Request:
    return Request(json.dumps({"subjects": list(items)}).encode(), **changes)


class Server:
    """The application behind the protocol, on the running loop."""

    def __init__(self, world: World) -> None:
        self.front = Front(world.app, service_of(world.app))
        self._config = uvicorn.Config(
            self.front, interface="asgi3", http=PredictProtocol, ws="none", lifespan="off", proxy_headers=False,
            log_config=None, access_log=False,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()

    def connect(self) -> tuple[PredictProtocol, Socket]:
        protocol, socket = PredictProtocol(self._config, self._state, {}, asyncio.get_running_loop()), Socket()
        protocol.connection_made(socket)
        return protocol, socket


async def until(condition: Callable[[], Any]) -> Any:
    """Let the loop run until there is something."""
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):
            await asyncio.sleep(0.001)
    return found


async def all_of(world: World, pieces: Sequence[Sequence[bytes]]) -> list[Response]:
    """Send on a connection each, all in one turn of the loop, and wait for the answers."""
    server = Server(world)
    connections = [server.connect() for _ in pieces]
    for (protocol, socket), parts in zip(connections, pieces, strict=True):
        for part in parts:
            if not socket.closed:
                protocol.data_received(part)
    responses = [await until(lambda socket=socket: parsed(socket)) for _, socket in connections]
    for protocol, _ in connections:
        protocol.connection_lost(None)
    return responses


def serve(world: World, *requests: Request) -> list[Response]:
    """Give the requests to the application at the same time."""
    return asyncio.run(all_of(world, [[request.wire()] for request in requests]))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each computation had."""
    sizes: list[int] = []
    original = batcher_module.answer

    def counted(service: Any, queries: Sequence[Query]) -> Any:
        sizes.append(len(queries))
        return original(service, queries)

    monkeypatch.setattr(batcher_module, "answer", counted)
    return sizes


BODIES = [
    json.dumps({"subjects": [subject()]}),
    json.dumps({"subjects": [subject(id=f"s{n}") for n in range(3)]}),
    json.dumps({"subjects": [subject(distance="1400", flight=True)]}),
    json.dumps({"subjects": [subject(distance=-3), subject(origin="BOS")]}),
    json.dumps({"subjects": [subject(prediction_time="2013-01-20T15:00:00Z")]}),
    json.dumps({"subjects": []}),
    '{"subjects": [{"id": NaN}]}',
    "[]",
    "nope",
    "",
    "[" * 100_000,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:30])
def test_the_loop_and_flask_answer_alike(world: World, body: str) -> None:
    flask = world.client.post(
        PATH, data=body, headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    )
    (here,) = serve(world, Request(body.encode()))
    assert (here.status, here.headers["content-type"]) == (flask.status_code, flask.content_type)
    if here.status == 200:
        probabilities = [[p.pop("probability") for p in answer["predictions"]] for answer in (here.json, flask.json)]
        assert len(probabilities[0]) == len(probabilities[1])
    else:
        assert here.json == flask.json


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": {"content-type": "application/json"}}, 401),
        ({"headers": {**HEADERS, "authorization": "Bearer wröng"}}, 401),
        ({"headers": {**HEADERS, "content-type": "text/plain"}}, 415),
        ({"headers": {**HEADERS, "content-type": "application/json; charset=utf-8"}}, 200),
        ({"method": "GET"}, 405),
        ({"method": "DELETE"}, 405),
        ({"path": "/v1/other/predict"}, 404),
        ({"path": "/nowhere"}, 404),
        ({"path": "/healthz", "method": "GET"}, 200),
    ],
    ids=str,
)
def test_every_way_to_be_told_no(world: World, changes: dict[str, Any], status: int) -> None:
    (response,) = serve(world, ask(subject(), **changes))
    assert response.status == status
    if status >= 400:
        assert response.json["status"] == status and response.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert "POST" in response.headers["allow"]
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"


def test_requests_that_wait_together_are_computed_together(world: World, batches: list[int]) -> None:
    requests = [ask(subject(id=f"r{n}", distance=100 + n)) for n in range(20)]
    responses = serve(world, *requests)
    assert [r.json["predictions"][0]["id"] for r in responses] == [f"r{n}" for n in range(20)]
    assert sum(batches) == 20 and len(batches) <= 2
    alone = [serve(world, request)[0].json["predictions"][0]["probability"] for request in requests[:3]]
    together = [r.json["predictions"][0]["probability"] for r in responses[:3]]
    assert together == pytest.approx(alone, abs=1e-6)


def test_a_long_queue_is_computed_in_parts(world: World, batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "MOST_TOGETHER", 8)
    responses = serve(
        world, *(ask(*(subject(id=f"{r}-{n}") for n in range(3))) for r in range(10)), ask(*[subject()] * 20)
    )
    assert all(r.status == 200 for r in responses)
    assert max(batches[:-1]) <= 8 and max(batches) == 20, "a request larger than a part is computed whole"


def test_one_requests_fault_is_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = batcher_module.answer

    def breaking(service: Any, queries: Sequence[Query]) -> Any:
        if any(query.id == "poison" for query in queries):
            raise RuntimeError("as nobody foresaw")
        return original(service, queries)

    monkeypatch.setattr(batcher_module, "answer", breaking)
    good, bad, other = serve(world, ask(subject(id="a")), ask(subject(id="poison")), ask(subject(id="b")))
    assert (good.status, bad.status, other.status) == (200, 500, 200)
    assert "nobody" not in bad.body.decode()


def test_one_that_cannot_be_told_keeps_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "MOST_TOGETHER", 1)

    def leave(given: object) -> None:
        raise RuntimeError("the handler is closed")

    async def told() -> list[object]:
        batcher, answers = Batcher(service_of(world.app)), []
        query = check_subject(subject(), service_of(world.app).use_case)
        assert isinstance(query, Query)
        for told in (leave, answers.append, answers.append):
            batcher.ask([query], told)
        await until(lambda: len(answers) == 2)
        return answers

    assert all(isinstance(answer, Answer) for answer in asyncio.run(told()))


def test_too_many_waiting_are_told_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "MOST_WAITING", 5)
    responses = serve(world, *(ask(subject(), subject()) for _ in range(4)))
    assert [r.status for r in responses] == [200, 200, 503, 503]
    assert responses[3].headers["retry-after"] == "1" and responses[3].json["type"].endswith("overloaded")


LIMIT_KINDS = [
    ("announced", PATH, {}),
    ("chunked", PATH, {"chunked": 1000}),
    ("announced", "/healthz", {}),
    ("chunked", "/healthz", {"chunked": 1000}),
]


@pytest.mark.parametrize(("_kind", "path", "more"), LIMIT_KINDS)
def test_a_body_over_the_limit_is_not_read_to_its_end(
    world: World, _kind: str, path: str, more: dict[str, Any]
) -> None:
    limit = service_of(world.app).config.max_body_bytes
    request = Request(b" " * (limit + 50_000), path=path, **more)
    head = request.wire().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    # Of an announced body nothing is sent at all; of a chunked one the last chunks are not.
    pieces = [head, *(request.chunks()[:-20] if request.chunked else [])]
    (response,) = asyncio.run(all_of(world, [pieces]))
    assert response.status == 413 and response.closed
    assert response.json["type"].endswith("body-too-large")


@pytest.mark.parametrize("path", [PATH, "/healthz"])
def test_a_client_that_leaves_is_no_error_of_the_service(
    world: World, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def leave() -> Socket:
        server = Server(world)
        (stays, answered), (leaves, gone) = server.connect(), server.connect()
        for protocol in (stays, leaves):
            protocol.data_received(ask(subject(), path=path).wire())
        leaves.connection_lost(None)
        await until(lambda: parsed(answered))
        return gone

    assert not asyncio.run(leave()).written
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_requests_sent_before_the_answer_are_answered_in_order(world: World) -> None:
    async def two_at_once() -> Socket:
        protocol, socket = Server(world).connect()
        protocol.data_received(ask(subject(id="first")).wire() + ask(subject(id="second")).wire())
        await until(lambda: socket.written.count(b"probability") == 2)
        return socket

    written = bytes(asyncio.run(two_at_once()).written)
    assert written.count(b"HTTP/1.1 200 OK") == 2
    assert written.index(b'"first"') < written.index(b'"second"')


def test_a_connection_serves_one_request_after_the_other(world: World) -> None:
    async def several() -> list[str]:
        protocol, socket = Server(world).connect()
        given = []
        for number in range(3):
            socket.written.clear()
            protocol.data_received(ask(subject(id=f"s{number}")).wire())
            given.append((await until(lambda: parsed(socket))).json["predictions"][0]["id"])
        assert not socket.closed
        return given

    assert asyncio.run(several()) == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    ("changes", "closed"),
    [
        ({}, False),
        ({"headers": {**HEADERS, "connection": "close"}}, True),
        ({"version": "1.0"}, True),
        ({"headers": {**HEADERS, "expect": "100-continue"}}, False),
        ({"chunked": 7}, False),
        ({"path": f"{PATH}?x=1"}, False),
    ],
    ids=str,
)
def test_every_form_of_a_good_request_is_answered_alike(world: World, changes: dict[str, Any], closed: bool) -> None:
    async def one() -> Response:
        protocol, socket = Server(world).connect()
        protocol.data_received(ask(subject(), **changes).wire())
        await until(lambda: b"probability" in socket.written)
        del socket.written[: socket.written.rindex(b"HTTP/1.1")]  # after a 100, if there was one
        response: Response = await until(lambda: parsed(socket))
        return response

    response, (usual,) = asyncio.run(one()), serve(world, ask(subject()))
    assert response.status == 200 and response.closed is closed
    assert response.json["predictions"][0]["id"] == usual.json["predictions"][0]["id"]
    assert response.json["predictions"][0]["probability"] == pytest.approx(usual.json["predictions"][0]["probability"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 400), max_size=12), chunked=st.sampled_from([0, 1, 50]))
def test_however_the_bytes_arrive(world: World, cuts: list[int], chunked: int) -> None:
    wire = ask(subject(), chunked=chunked).wire()
    places = [0, *sorted({cut for cut in cuts if cut < len(wire)}), len(wire)]
    pieces = [wire[start:end] for start, end in pairwise(places)]
    (response,) = asyncio.run(all_of(world, [pieces]))
    assert response.status == 200 and len(response.json["predictions"]) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"POST / HTTP/1.1\r\nX: " + b"a" * (MOST_HEAD_BYTES + 1),
        b"GET /" + b"a" * (MOST_HEAD_BYTES + 1),
        b"nonsense\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["header", "path", "nonsense", "length", "two lengths"],
)
def test_what_is_no_request_ends_the_connection(world: World, wire: bytes) -> None:
    (response,) = asyncio.run(all_of(world, [[wire]]))
    assert response.status == 400 and response.closed


@pytest.mark.parametrize("sent", [b"", b"POST " + PATH.encode(), ask(subject()).wire()[:-5]])
def test_who_sends_too_slowly_is_not_waited_for(world: World, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "READ_SECONDS", 0.01)

    async def wait() -> None:
        protocol, socket = Server(world).connect()
        protocol.data_received(sent)
        await until(lambda: socket.closed)

    asyncio.run(wait())


def test_nor_is_who_was_answered_and_sends_what_begins_no_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_module, "READ_SECONDS", 0.05)

    async def wait() -> None:
        protocol, socket = Server(world).connect()
        protocol.data_received(Request(path="/healthz", method="GET").wire())
        await until(lambda: parsed(socket))
        protocol.data_received(b"\r\n")  # any byte ends uvicorn's own patience
        await until(lambda: socket.closed)

    asyncio.run(wait())


def test_without_a_champion_it_says_why(empty_world: World) -> None:
    (response,) = serve(empty_world, ask(subject()))
    assert response.status == 503 and response.json["type"].endswith("no-model")
