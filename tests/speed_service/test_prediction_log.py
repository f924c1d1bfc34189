"""Answers as messages: as published, as read by the batch layer, and logged without delaying anyone."""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import numpy as np
import pytest
from prometheus_client import Counter

from include.ledger import Entry
from include.streaming.schemas import schema_files
from include.target import COUNT
from speed_service.answering import encoded
from speed_service.app import service_of
from speed_service.champion import load_champion
from speed_service.prediction_log import PredictionLog, prediction_messages
from speed_service.predictor import Predicted, predict
from speed_service.queries import Query, check_subject
from speed_service.service import Service
from tests.speed_service.conftest import World, make_bundle, subject

AT = datetime(2026, 11, 24, 11, 0, 0, 123456, tzinfo=UTC)
SUBJECTS = [subject(), subject(id="b", tailnum=None, prediction_time="2012-06-01T00:00:00Z")]


@pytest.fixture
def service(world: World) -> Service:
    return service_of(world.app)


@pytest.fixture
def queries(service: Service) -> list[Query]:
    found = [check_subject(one, service.use_case) for one in SUBJECTS]
    return [query for query in found if isinstance(query, Query)]


def predicted(service: Service, queries: list[Query]) -> Predicted:
    assert service.champion is not None
    return predict(service.use_case, service.champion, service.history, queries)


def test_messages_are_as_published_and_say_what_was_answered(service: Service, queries: list[Query]) -> None:
    made, champion = predicted(service, queries), service.champion
    assert champion is not None
    schema = json.loads(schema_files(service.use_case)["flight_delay.predictions.json"])
    messages = list(prediction_messages(champion, made.answer, queries, made.columns, "kafka", AT))
    assert [key.decode() for key, _ in messages] == [query.id for query in queries]
    for number, (_, value) in enumerate(messages):
        message = json.loads(value)
        jsonschema.Draft202012Validator(schema).validate(message)
        prediction = made.answer.predictions[number]
        assert (message["id"], message["probability"]) == (prediction.id, prediction.answer)
        assert message["as_of"] == prediction.as_of and message["degraded"] is prediction.degraded
        assert message["predicted_at"] == "2026-11-24T11:00:00.123Z" and message["via"] == "kafka"
        for name, column in made.columns.items():
            assert_same(message["features"][name], column[number], name)
    assert json.loads(messages[0][1])["prediction_time"] == "2013-01-20T14:15:00Z"


def test_a_count_is_called_a_value(service: Service, queries: list[Query], empty_world: World) -> None:
    counting = replace(service.use_case, target=COUNT)
    model_id = make_bundle(empty_world.store, counting, 1)
    champion = load_champion(empty_world.store, counting, Entry(1, "", "promoted", model_id, None, "", "", ""))
    made = predict(counting, champion, service.history, queries)
    (body,) = json.loads(encoded(made.answer))["predictions"][:1]
    assert set(body) == {"id", "value", "as_of", "degraded"} and body["value"] > 0.0
    schema = jsonschema.Draft202012Validator(json.loads(schema_files(counting)["flight_delay.predictions.json"]))
    ((_, value), *_) = prediction_messages(champion, made.answer, queries, made.columns, "kafka", AT)
    schema.validate(json.loads(value))
    assert json.loads(value)["value"] == body["value"] and "probability" not in json.loads(value)


def assert_same(sent: Any, value: Any, name: str) -> None:
    """A feature keeps every bit on its way through JSON; what is missing is null."""
    if isinstance(value, float | np.floating):
        assert (sent is None) if np.isnan(value) else np.float64(sent) == value, name
    else:
        assert sent == value, name


class Sent:
    """Takes messages; can be made to wait, as a producer with a full queue does."""

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, topic: str, key: bytes, value: bytes, stop: threading.Event) -> None:
        while not stop.is_set() and not self.open.wait(0.01):
            pass
        self.values.append({"topic": topic, "key": key.decode(), **json.loads(value)})


def dropped(counter: Counter) -> float:
    return counter.collect()[0].samples[0].value


def test_answers_are_logged_by_a_thread(service: Service, queries: list[Query]) -> None:
    sent, stop, counter = Sent(), threading.Event(), service.telemetry.log_dropped
    log, made, champion = PredictionLog("topic", sent, counter), predicted(service, queries), service.champion
    assert champion is not None
    thread = threading.Thread(target=log.follow, args=(stop,))
    thread.start()
    for _ in range(3):
        log.add(champion, made.answer, queries, made.columns)
    wait_for(lambda: len(sent.values) == 6)
    stop.set()
    thread.join(10)
    assert [value["key"] for value in sent.values] == [query.id for query in queries] * 3
    assert {value["via"] for value in sent.values} == {"http"} and dropped(counter) == 0


def test_what_cannot_be_sent_in_time_is_dropped_and_counted(service: Service, queries: list[Query]) -> None:
    sent, stop, counter = Sent(), threading.Event(), service.telemetry.log_dropped
    log, made, champion = PredictionLog("topic", sent, counter, most=5), predicted(service, queries), service.champion
    assert champion is not None
    sent.open.clear()  # the brokers are away
    thread = threading.Thread(target=log.follow, args=(stop,))
    thread.start()
    for _ in range(4):
        log.add(champion, made.answer, queries, made.columns)
    assert dropped(counter) == 4, "room for two answers to two subjects each"
    sent.open.set()
    wait_for(lambda: len(sent.values) == 4)
    wait_for(lambda: log._subjects == 0)
    log.add(champion, made.answer, queries, made.columns)
    wait_for(lambda: len(sent.values) == 6)
    stop.set()
    thread.join(10)
    assert dropped(counter) == 4


def wait_for(condition: Any, seconds: float = 30) -> None:
    done = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("waited in vain")


def test_answers_over_http_are_logged(world: World) -> None:
    service, sent, stop = service_of(world.app), Sent(), threading.Event()
    service.prediction_log = PredictionLog("topic", sent, service.telemetry.log_dropped)
    answer = world.predict(*SUBJECTS).json
    service.prediction_log._send_noted(stop)
    assert [(m["id"], m["probability"]) for m in sent.values] == [
        (p["id"], p["probability"]) for p in answer["predictions"]
    ]
