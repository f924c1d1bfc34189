"""What becomes of prepared queries, without Kafka: answered like over HTTP, told twice, or refused with reasons."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from include.streaming.messages import PreparedQuery, encode
from include.streaming.schemas import schema_files
from speed_service import kafka_loop
from speed_service.answered import Answered
from speed_service.app import service_of
from speed_service.kafka_loop import Out, QueryLoop, joined_columns, logged_identity
from speed_service.service import Service
from tests.speed_service.conftest import World, subject

SENT = 1_790_000_000_000
HOUR = 3_600_000


@pytest.fixture
def service(world: World) -> Service:
    return service_of(world.app)


@pytest.fixture
def loop(service: Service) -> QueryLoop:
    return QueryLoop(service, threading.Event())


def prepared(service: Service, references: Mapping[str, Any] | None = None, **changes: Any) -> bytes:
    """A query as Spark prepares it; with ``references`` it names the champion's own reference tables."""
    champion = service.champion
    assert champion is not None
    versions = dict(champion.reference_versions) if references is not None else {"planes": "0" * 64}
    return encode(PreparedQuery(subject(**changes), dict(references or {}), versions))


def documents(out: Sequence[Out], topic: str) -> list[dict[str, Any]]:
    return [json.loads(value) for to, _, value in out if to == f"flight_delay.{topic}"]


def looked_up(service: Service, query: dict[str, Any]) -> dict[str, Any]:
    """The reference columns of a subject, as Spark would join them."""
    champion = service.champion
    assert champion is not None
    found: dict[str, Any] = {}
    for reference in service.use_case.features.references:
        for name, column in champion.references[reference.name].lookup([query[reference.key]], 1).items():
            value = column.tolist()[0]
            found[name] = None if value != value else value
    return found


def test_a_query_is_answered_as_over_http(world: World, service: Service, loop: QueryLoop) -> None:
    over_http = world.predict(subject()).json["predictions"][0]
    out, identities = loop.judge([(prepared(service), SENT)])
    (topic, key, value), message = out[0], documents(out, "predictions")[0]
    assert (topic, key) == ("flight_delay.predictions", subject()["id"].encode())
    assert {name: message[name] for name in over_http} == over_http
    assert identities == [logged_identity(value)]
    assert message["via"] == "kafka" and message["sequence"] == 1


def test_references_that_came_along_are_used_when_they_are_the_champions(service: Service, loop: QueryLoop) -> None:
    joined = looked_up(service, subject())
    assert joined["planes_year"] == 1999.0
    same, other = joined, {**joined, "planes_year": 1950.0}
    by_lookup, by_join, by_other = (
        documents(QueryLoop(service, threading.Event()).judge([(value, SENT)])[0], "predictions")[0]
        for value in (prepared(service), prepared(service, same), prepared(service, other))
    )
    assert by_join["features"] == by_lookup["features"]
    assert by_other["features"] != by_lookup["features"]


def test_references_of_another_version_are_looked_up(service: Service) -> None:
    champion = service.champion
    assert champion is not None
    own = PreparedQuery(subject(), {}, dict(champion.reference_versions))
    other = PreparedQuery(subject(), {}, {**champion.reference_versions, "planes": "f" * 64})
    references = service.use_case.features.references
    columns = joined_columns([own, own], references, champion)
    assert columns is not None and all(len(column) == 2 for column in columns.values())
    assert np.isnan(columns["planes_year"]).all()
    assert joined_columns([own, other], references, champion) is None


def test_a_query_asked_again_is_answered_once(service: Service, loop: QueryLoop) -> None:
    value, later = prepared(service), prepared(service, prediction_time="2013-01-20T14:00:00Z")
    out, identities = loop.judge([(value, SENT), (value, SENT), (later, SENT)])
    assert len(documents(out, "predictions")) == 2, "another prediction time is another query"
    for identity in identities:
        loop._answered.add(identity, SENT + 5)
    for asked in (SENT, SENT + 10, SENT + HOUR):
        assert loop.judge([(value, asked), (later, asked)]) == ([], [])
    assert len(loop.judge([(value, SENT + 2 * HOUR)])[0]) == 1, "beyond the horizon it is asked anew"
    assert service.telemetry.duplicates._value.get() == 1 + 3 * 2


@pytest.mark.parametrize(
    ("value", "identity", "field"),
    [
        (b"nope", None, "message"),
        (b"", None, "message"),
        (b"[]", None, "message"),
        (b'{"subject": {"id": "a"}}', None, "message"),
        (encode(PreparedQuery({"id": "a"}, {}, {})), "a", "carrier"),
        (encode(PreparedQuery(subject(distance=-1), {}, {})), subject()["id"], "distance"),
        (encode(PreparedQuery({"id": 7}, {}, {})), None, "carrier"),
        (encode(PreparedQuery(subject(prediction_time="2013-01-20T15:14:00Z"), {}, {})), subject()["id"], "prediction"),
    ],
)
def test_what_is_no_good_query_is_refused_with_reasons(
    service: Service, loop: QueryLoop, value: bytes, identity: str | None, field: str
) -> None:
    out, identities = loop.judge([(value, SENT), (prepared(service), SENT)])
    assert len(documents(out, "predictions")) == len(identities) == 1, "its neighbour is answered"
    told = documents(out, "rejected")[0]
    jsonschema.Draft202012Validator(json.loads(schema_files(service.use_case)["flight_delay.rejected.json"])).validate(
        told
    )
    assert told["id"] == identity and any(field in error["field"] for error in told["errors"])
    assert [key for topic, key, _ in out if topic.endswith("rejected")] == [(identity or "").encode()]


def test_one_query_that_breaks_the_batch_is_told_and_the_others_are_answered(
    service: Service, loop: QueryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kafka_loop.predict

    def breaking(use_case: Any, champion: Any, history: Any, queries: Any, joined: Any) -> Any:
        if any(query.id == "bad" for query in queries):
            raise ArithmeticError("of this query alone")
        return real(use_case, champion, history, queries, joined)

    monkeypatch.setattr(kafka_loop, "predict", breaking)
    out, _ = loop.judge([(prepared(service, id=name), SENT) for name in ("one", "bad", "two")])
    assert [message["id"] for message in documents(out, "predictions")] == ["one", "two"]
    assert [message["id"] for message in documents(out, "rejected")] == ["bad"]


@pytest.mark.parametrize("wrong", [{"planes_year": "of old"}, {"planes_model": 7}])
def test_references_of_the_wrong_kind_are_looked_up_instead(
    service: Service, loop: QueryLoop, wrong: dict[str, Any]
) -> None:
    good = looked_up(service, subject())
    odd = prepared(service, {**good, **wrong}, id="odd")
    out, _ = loop.judge([(odd, SENT), (prepared(service, good, id="one"), SENT)])
    answered = documents(out, "predictions")
    assert [message["id"] for message in answered] == ["odd", "one"]
    assert answered[0]["features"] == answered[1]["features"]


@pytest.mark.parametrize(
    ("message", "identity"),
    [
        ({"id": "a", "prediction_time": "2013-01-20T00:00:10Z", "via": "kafka"}, ("a", 1358640010)),
        ({"id": "a", "prediction_time": "2013-01-20T00:00:10Z", "via": "http"}, None),
        ({"id": "a", "prediction_time": "soon", "via": "kafka"}, None),
        ({"id": "a"}, None),
    ],
)
def test_identities_are_read_back_from_answers(message: dict[str, Any], identity: tuple[str, int] | None) -> None:
    assert logged_identity(json.dumps(message).encode()) == identity
    assert logged_identity(b"\xff") is None


def test_no_more_is_read_back_than_is_remembered(loop: QueryLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week without anybody: the oldest query waits since then, and an answer was given every five minutes."""
    now, held = kafka_loop.now_milliseconds(), list[int]()
    times = [now - number * HOUR // 12 for number in reversed(range(7 * 24 * 12))]
    answer = {"prediction_time": "2013-01-20T00:00:10Z", "via": "kafka"}

    def since(start: int) -> Iterator[Any]:
        assert start <= times[0] - HOUR
        for time in times:
            yield SimpleNamespace(
                value=json.dumps(answer | {"id": str(time)}).encode, timestamp=lambda at=time: (1, at)
            )
            held.append(len(loop._answered))

    past = SimpleNamespace(oldest=lambda _: times[0], since=since)
    monkeypatch.setattr(kafka_loop, "Past", lambda *_: past)
    monkeypatch.setattr(kafka_loop, "READ_BACK_TOGETHER", 10)
    loop._answered = Answered(HOUR, most=100)
    loop.remember([], {0: 0})
    assert max(held) <= 110 and len(loop._answered) == 100
    covered = [loop._answered.covers((str(time), 1358640010), times[0]) for time in times]
    assert covered == [False] * (len(times) - 100) + [True] * 100, "the newest"


def test_waits_for_a_champion(empty_world: World) -> None:
    stop = threading.Event()
    loop = QueryLoop(service_of(empty_world.app), stop)
    thread = threading.Thread(target=loop.run)
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
