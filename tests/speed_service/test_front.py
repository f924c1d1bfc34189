"""The front on the event loop: Flask's answers, computed together; limits; nobody pays for somebody else's fault.

Requests are given to the application as granian gives them, by a stand-in for its scope and protocol; the real server
is in test_with_servers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from granian.rsgi import ProtocolClosed

from speed_service import front as front_module
from speed_service.app import service_of
from speed_service.front import Front
from speed_service.queries import Query
from tests.speed_service.conftest import TOKEN, World, subject

PATH = "/v1/flight_delay/predict"
HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}


@dataclass
class Protocol:
    """What granian hands over for one HTTP request: its body in parts, and the response that is given."""

    parts: Sequence[bytes]
    read: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def __call__(self) -> bytes:
        self.read = len(self.parts)
        return b"".join(self.parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            self.read += 1
            yield part

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        assert not self.status, "one request, one response"
        self.status, self.headers, self.body = status, dict(headers), body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    body: bytes = b""
    path: str = PATH
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: dict(HEADERS))
    chunked: int = 0

    def protocol(self) -> Protocol:
        size = self.chunked or len(self.body) or 1
        return Protocol([self.body[n : n + size] for n in range(0, len(self.body), size)])

    def scope(self) -> Any:
        length = {} if self.chunked else {"content-length": str(len(self.body))}
        return SimpleNamespace(
            proto="http", method=self.method, path=self.path, query_string="", headers={**self.headers, **length},
            server="127.0.0.1:1", client="127.0.0.1:2", scheme="http", http_version="1.1",
        )  # fmt: skip


def ask(*items: Any, **changes: Any) -> Request:
    return Request(json.dumps({"subjects": list(items)}).encode(), **changes)


async def all_of(front: Front, requests: Sequence[Request]) -> list[Protocol]:
    front.__rsgi_init__(asyncio.get_running_loop())
    protocols = [request.protocol() for request in requests]
    await asyncio.gather(*(front.__rsgi__(r.scope(), p) for r, p in zip(requests, protocols, strict=True)))
    return protocols


def serve(world: World, *requests: Request) -> list[Protocol]:
    """Give the requests to the application at the same time."""
    return asyncio.run(all_of(Front(world.app, service_of(world.app)), requests))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many queries each computation had."""
    sizes: list[int] = []
    original = front_module.answer

    def counted(service: Any, queries: Sequence[Query]) -> Any:
        sizes.append(len(queries))
        return original(service, queries)

    monkeypatch.setattr(front_module, "answer", counted)
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
    monkeypatch.setattr(front_module, "MOST_TOGETHER", 8)
    responses = serve(
        world, *(ask(*(subject(id=f"{r}-{n}") for n in range(3))) for r in range(10)), ask(*[subject()] * 20)
    )
    assert all(r.status == 200 for r in responses)
    assert max(batches[:-1]) <= 8 and max(batches) == 20, "a request larger than a part is computed whole"


def test_one_requests_fault_is_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = front_module.answer

    def breaking(service: Any, queries: Sequence[Query]) -> Any:
        if any(query.id == "poison" for query in queries):
            raise RuntimeError("as nobody foresaw")
        return original(service, queries)

    monkeypatch.setattr(front_module, "answer", breaking)
    good, bad, other = serve(world, ask(subject(id="a")), ask(subject(id="poison")), ask(subject(id="b")))
    assert (good.status, bad.status, other.status) == (200, 500, 200)
    assert "nobody" not in bad.body.decode()


def test_too_many_waiting_are_told_to_come_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_module, "MOST_WAITING", 5)
    responses = serve(world, *(ask(subject(), subject()) for _ in range(4)))
    assert [r.status for r in responses] == [200, 200, 503, 503]
    assert responses[3].headers["retry-after"] == "1" and responses[3].json["type"].endswith("overloaded")


@pytest.mark.parametrize(
    ("chunked", "more"), [(0, {}), (1000, {}), (1000, {"content-length": "5", "transfer-encoding": "chunked"})]
)
@pytest.mark.parametrize("path", [PATH, "/healthz"])
def test_a_body_over_the_limit_is_not_read_to_its_end(
    world: World, chunked: int, more: dict[str, str], path: str
) -> None:
    limit = service_of(world.app).config.max_body_bytes
    request = Request(b" " * (limit + 50_000), chunked=chunked, headers={**HEADERS, **more}, path=path)
    protocol = request.protocol()

    async def serve_one() -> None:
        front = Front(world.app, service_of(world.app))
        front.__rsgi_init__(asyncio.get_running_loop())
        await front.__rsgi__(request.scope(), protocol)

    asyncio.run(serve_one())
    assert protocol.status == 413 and protocol.read < len(protocol.parts)


class Gone(Protocol):
    """A client that leaves before its body has come."""

    async def __call__(self) -> bytes:
        raise ProtocolClosed("RSGI transport is closed")


@pytest.mark.parametrize("path", [PATH, "/healthz"])
def test_a_client_that_leaves_is_no_error_of_the_service(
    world: World, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    request, protocol = ask(subject(), path=path), Gone([])
    front = Front(world.app, service_of(world.app))
    asyncio.run(front.__rsgi__(request.scope(), protocol))
    assert protocol.status == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_without_a_champion_it_says_why(empty_world: World) -> None:
    (response,) = serve(empty_world, ask(subject()))
    assert response.status == 503 and response.json["type"].endswith("no-model")
