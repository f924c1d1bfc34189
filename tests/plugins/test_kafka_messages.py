"""Which messages are waited for (the waiting itself, on a real broker: integration)."""

import asyncio
import json
import os
import time
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from confluent_kafka import Consumer, KafkaError, KafkaException

from lambda_dl.sensors.batch_event import DayAnnouncedSensor, MessageLate, ModelLoadedSensor
from lambda_dl.triggers.kafka_messages import (
    KafkaMessagesTrigger,
    consumer_settings,
    matches,
    parse,
    read_batch,
    still_missing,
)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[1]", b'"text"', b"\xff"])
def test_what_is_no_object_is_passed_over(value: bytes | None) -> None:
    assert parse(value) is None


def test_a_message_matches_by_the_expected_fields() -> None:
    assert matches({"run_id": "r"}, {"run_id": "r", "ds": "x"})
    assert not matches({"run_id": "r"}, {"run_id": "r2"})
    assert not matches({"sequence": 1}, {})


def test_missing_are_those_without_a_message() -> None:
    expected = [{"run_id": "r", "ds": "a"}, {"run_id": "r", "ds": "b"}]
    assert still_missing(expected, [{"run_id": "r", "ds": "a"}, {"run_id": "other", "ds": "b"}]) == expected[1:]


def test_a_consumer_commits_nothing_whatever_the_connection_says() -> None:
    settings = consumer_settings({"bootstrap.servers": "b", "enable.auto.commit": True, "group.id": "airflow"})
    assert settings["enable.auto.commit"] is False and settings["group.id"] != "airflow"


class FakeTi:
    def __init__(self, value: Any) -> None:
        self.value = value

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.value


class FakeRun:
    run_id, partition_key = "run-1", None


def deferred_trigger(sensor: Any, value: Any) -> KafkaMessagesTrigger:
    params = {"from": "2013-01-01", "to": "2013-01-02"}
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({"dag_run": FakeRun(), "params": params, "ti": FakeTi(value)})
    trigger = deferred.value.trigger
    assert isinstance(trigger, KafkaMessagesTrigger)
    return trigger


def test_every_day_of_this_very_run_is_awaited() -> None:
    sensor = DayAnnouncedSensor(task_id="a", use_case="u", announcer="p", limit=60)
    trigger = deferred_trigger(sensor, 1234)
    assert trigger.topic == "u.batch_events" and trigger.since_ms == 1234
    assert [one["ds"] for one in trigger.expected] == ["2013-01-01", "2013-01-02"]
    assert {one["run_id"] for one in trigger.expected} == {"run-1"}


def test_the_receipt_names_model_and_ledger_line() -> None:
    sensor = ModelLoadedSensor(task_id="a", use_case="u", promoter="p", limit=60)
    promotion = {"model_id": "m", "sequence": 7, "time": "2026-11-30T00:10:00Z", "reasons": []}
    trigger = deferred_trigger(sensor, promotion)
    assert trigger.expected == [{"kind": "model_loaded", "model_id": "m", "sequence": 7}]
    assert trigger.since_ms == datetime(2026, 11, 30, tzinfo=UTC).timestamp() * 1000, "not the topic's whole history"


def test_a_refused_candidate_is_skipped_with_its_reasons() -> None:
    sensor = ModelLoadedSensor(task_id="a", use_case="u", promoter="p", limit=60)
    refused = {"promoted": False, "model_id": "m", "sequence": None, "reasons": ["AUC is no better"]}
    with pytest.raises(AirflowSkipException, match="AUC is no better"):
        sensor.execute({"dag_run": FakeRun(), "params": {}, "ti": FakeTi(refused)})


def test_a_late_message_is_named() -> None:
    sensor = DayAnnouncedSensor(task_id="a", use_case="u", announcer="p", limit=60)
    with pytest.raises(MessageLate, match="2013-01-02"):
        sensor.arrived({}, {"status": "late", "missing": [{"ds": "2013-01-02"}]})


def run_trigger(trigger: KafkaMessagesTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first())


class FakeMessage:
    def __init__(self, value: bytes, error: Any = None) -> None:
        self.value, self.error = lambda: value, lambda: error


@pytest.mark.parametrize("place", [0, 1])
def test_an_error_takes_no_message_with_it(place: int) -> None:
    batch = [FakeMessage(b'{"run_id": "r"}')]
    batch.insert(place, FakeMessage(b"", KafkaError(KafkaError._TRANSPORT)))
    consumer = cast(Consumer, SimpleNamespace(consume=lambda *_, **__: batch))
    assert read_batch(consumer) == [{"run_id": "r"}]
    del batch[1 - place]
    with pytest.raises(KafkaException):
        read_batch(consumer)


@pytest.mark.integration
def test_on_a_real_broker_old_and_foreign_messages_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.cimpl import NewTopic

    from tests.kafka_topics import make_topics

    bootstrap = os.environ["KAFKA_BOOTSTRAP"]
    topic, run_id = f"test.await.{uuid.uuid4().hex}", uuid.uuid4().hex
    connection = Connection(conn_id="k", conn_type="kafka", extra=json.dumps({"bootstrap.servers": bootstrap}))

    async def aget(conn_id: str) -> Connection:
        return connection

    monkeypatch.setattr(BaseHook, "aget_connection", aget)
    admin = make_topics(bootstrap, [NewTopic(topic, 2, 1)])
    producer = Producer({"bootstrap.servers": bootstrap})
    now = int(time.time() * 1000)

    def send(ds: str, run: str, timestamp: int) -> None:
        producer.produce(topic, json.dumps({"run_id": run, "ds": ds}).encode(), key=ds, timestamp=timestamp)

    try:
        send("a", run_id, now - 60_000)  # an earlier try announced this
        send("b", run_id, now)
        send("a", "another-run", now)
        producer.produce(topic, b"not json", timestamp=now)
        assert producer.flush(30) == 0
        expected = [{"run_id": run_id, "ds": ds} for ds in ("a", "b")]
        late = run_trigger(KafkaMessagesTrigger("k", topic, expected, now - 1000, time.time() + 4))
        assert late == {"status": "late", "missing": [{"run_id": run_id, "ds": "a"}]}
        send("a", run_id, now + 1)
        assert producer.flush(30) == 0
        path, arguments = KafkaMessagesTrigger("k", topic, expected, now - 1000, time.time() + 60).serialize()
        assert path.endswith("KafkaMessagesTrigger")
        assert run_trigger(KafkaMessagesTrigger(**arguments))["status"] == "arrived"
    finally:
        admin.delete_topics([topic])[topic].result(30)
