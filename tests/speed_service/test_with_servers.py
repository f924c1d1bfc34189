"""The service as a process under its real server, against the real S3 and Kafka: promotion -> receipt -> prediction."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.ledger import Entry
from include.streaming.messages import Progress, TileUpdate, encode, minute_of, minute_text
from tests.speed_service.conftest import make_bundle
from tests.speed_service.processes import Running, Stack, stack_of, start_service, until

pytestmark = pytest.mark.integration

MORNING = minute_of("2013-01-21T00:00:00Z")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with stack_of({"models": 1, "metrics": 1, "batch_events": 1, "tiles": 1, "predictions": 1}) as stack:
        yield stack


@pytest.fixture(scope="module")
def running(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests here, with its own read-only keys where there are any."""
    running = start_service(stack, tmp_path_factory.mktemp("launch") / "service")
    yield running
    running.stop()


def receipts(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """Every message of a kind on the metrics topic so far."""
    return [message for message in stack.read(stack.topics.metrics) if message["kind"] == kind]


def received(stack: Stack, kind: str, model_id: str) -> list[dict[str, Any]]:
    return [message for message in receipts(stack, kind) if message["model_id"] == model_id]


def test_starts_without_a_champion(running: Running) -> None:
    until(lambda: running.call("/healthz")[0] == 200, "the process to live")
    until(lambda: "no model has been promoted" in str(running.call("/readyz")[1]), "the ledger to be read")
    assert running.call("/readyz")[0] == 503
    assert running.predict()[0] == 503


def test_a_promotion_is_received_and_answered(running: Running, stack: Stack) -> None:
    stack.publish_tiles()
    entry = stack.promote(make_bundle(stack.store, stack.use_case, 1), 1)
    stack.broadcast(entry)
    receipt = until(lambda: received(stack, "model_loaded", entry.model_id), "the receipt")[0]
    assert (receipt["sequence"], receipt["run_id"]) == (1, "run-1")
    until(lambda: running.call("/readyz")[0] == 200, "tiles")
    status, answer = running.predict()
    assert status == 200 and answer["model_id"] == entry.model_id
    assert answer["predictions"][0]["as_of"]["departures"] == "2013-01-20T14:15:00Z"
    assert answer["predictions"][0]["degraded"] is False


def test_a_broadcast_repeated_gets_its_receipt_again(stack: Stack, running: Running) -> None:
    entry = Entry(**json.loads(stack.store.get(f"{stack.use_case.name}/ledger/00000001.json")))
    stack.broadcast(entry)
    found = until(lambda: len(m := received(stack, "model_loaded", entry.model_id)) > 1 and m, "a second receipt")
    assert len({message["metric_id"] for message in found}) == 1


def test_a_bad_bundle_is_refused_and_the_next_good_one_served(running: Running, stack: Stack) -> None:
    bad = stack.promote("f" * 64, 2)
    stack.broadcast(bad)
    why = until(lambda: received(stack, "model_rejected", bad.model_id), "the refusal")[0]
    assert "no object" in why["reason"]
    assert running.predict()[0] == 200
    good = stack.promote(make_bundle(stack.store, stack.use_case, 2), 3)
    stack.broadcast(good)
    until(lambda: received(stack, "model_loaded", good.model_id), "the receipt")
    assert running.predict()[1]["model_id"] == good.model_id


def test_reports_its_meters_on_kafka(running: Running, stack: Stack) -> None:
    messages = until(lambda: receipts(stack, "runtime"), "runtime metrics")
    assert {"predict_seconds_count", "tiles_rows"} <= {message["name"] for message in messages}


def test_logs_answers_over_http(running: Running, stack: Stack) -> None:
    status, answer = running.predict(id="to-be-logged")
    assert status == 200

    def logged() -> list[Any]:
        return [message for message in stack.read(stack.topics.predictions) if message["id"] == "to-be-logged"]

    message = until(logged, "the answer on the predictions topic")[0]
    assert message["via"] == "http" and message["probability"] == answer["predictions"][0]["probability"]


def tile(minute: str, count: int) -> tuple[bytes, bytes]:
    update = TileUpdate("departures_by_origin", "EWR", minute, [count, 10, 0, 10])
    return update.message_key.encode(), encode(update)


def test_follows_the_stream(running: Running, stack: Stack) -> None:
    """The day after the published ones: seen as far as the stream has come, and the tiles count."""
    asked = {"scheduled_departure": "2013-01-21T05:00:00Z", "prediction_time": "2013-01-21T04:00:30Z"}
    assert running.predict(**asked)[1]["predictions"][0]["as_of"]["departures"] == "2013-01-21T00:00:00Z"
    progress = Progress("departures", "2013-01-20T00:00:00Z", "2013-01-21T03:59:00Z", "2013-01-21T03:59:00Z")
    stack.send(stack.topics.tiles, [tile("2013-01-21T03:58:00Z", 7), (progress.message_key.encode(), encode(progress))])

    def seen() -> bool:
        return bool(running.predict(**asked)[1]["predictions"][0]["as_of"]["departures"] == "2013-01-21T03:59:00Z")

    until(seen, "the stream's border")
    running.predict(**asked, id="streamed")

    def logged() -> list[Any]:
        return [message for message in stack.read(stack.topics.predictions) if message["id"] == "streamed"]

    features = until(logged, "the answer on the predictions topic")[0]["features"]
    assert features["origin_departed_1h_count"] == 7, sorted(features)


def test_one_that_starts_is_ready_when_it_has_read_what_was_streamed(
    running: Running, stack: Stack, tmp_path: Path
) -> None:
    """Thousands of tiles lie on the topic; the first answer after readiness sees the border that comes after them."""
    many = [tile(minute_text(MORNING + number % 240), number) for number in range(10_000)]
    borders = [MORNING + 100, MORNING + 235]
    told = [Progress("departures", minute_text(MORNING), minute_text(b), minute_text(b)) for b in borders]
    stack.send(stack.topics.tiles, [*many, *((p.message_key.encode(), encode(p)) for p in told)])
    started = start_service(stack, tmp_path / "second")
    try:
        until(started.ready, "the second service")
        answer = started.predict(scheduled_departure="2013-01-21T05:00:00Z", prediction_time="2013-01-21T04:00:30Z")[1]
        assert answer["predictions"][0]["as_of"]["departures"] == "2013-01-21T03:59:00Z", "it never goes back"
    finally:
        started.stop()
