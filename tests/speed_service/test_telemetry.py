"""Messages on the metrics topic: identity, and what a run-time report holds."""

from typing import Any

import msgspec

from speed_service.telemetry import Telemetry


def recording() -> tuple[Telemetry, list[dict[str, Any]]]:
    telemetry, sent = Telemetry("case", "instance", "case.metrics"), list[dict[str, Any]]()
    telemetry.send = lambda _topic, key, value: sent.append({**msgspec.json.decode(value), "key": key.decode()})
    return telemetry, sent


def test_the_same_event_has_the_same_identity() -> None:
    telemetry, sent = recording()
    for identity in ("1", "1", "2"):
        telemetry.publish("model_loaded", {"model_id": "m"}, identity, "run")
    ids = [message["metric_id"] for message in sent]
    assert ids[0] == ids[1] != ids[2]
    assert all(message["key"] == message["metric_id"] for message in sent)


def test_a_runtime_report_has_one_message_per_meter_and_bucket() -> None:
    telemetry, sent = recording()
    telemetry.predictions.labels("false").inc(3)
    telemetry.latency.observe(0.002)
    telemetry.publish_runtime()
    values = {message["name"]: message["value"] for message in sent}
    assert values['predictions_total{degraded="false"}'] == 3.0
    assert values["predict_seconds_count"] == 1.0
    assert values['predict_seconds_bucket{le="0.001"}'] == 0.0 and values['predict_seconds_bucket{le="+Inf"}'] == 1.0
    assert not any("_created" in name for name in values)
    assert {"metric_id", "kind", "use_case", "ds", "time", "run_id", "instance", "name", "value"} <= sent[0].keys()


def test_without_kafka_nothing_is_sent() -> None:
    telemetry = Telemetry("case", "instance", "case.metrics")
    telemetry.publish_runtime()


def test_another_model_takes_the_place_of_the_first() -> None:
    telemetry, _ = recording()
    telemetry.serves("a", 1)
    telemetry.serves("b", 2)
    text = telemetry.exposition().decode()
    assert 'model_info{model_id="a"} 0.0' in text and 'model_info{model_id="b"} 1.0' in text


def test_latency_is_told_in_words() -> None:
    telemetry, _ = recording()
    assert telemetry.latency_summary() == "no answer yet"
    for milliseconds in [*range(1, 99), 400, 5000]:
        telemetry.latency.observe(milliseconds / 1000)
    assert telemetry.latency_summary() == "half of 100 answers within 50 ms, 99 % within 500 ms"


def test_freshness_is_told_by_source() -> None:
    telemetry, sent = recording()
    telemetry.saw({"a": 95, "b": 0}, 100)
    telemetry.publish_runtime()
    values = {message["name"]: message["value"] for message in sent}
    assert values['as_of_lag_seconds{source="a"}'] == 300
    assert 'as_of_lag_seconds{source="b"}' not in values, "nothing was seen of it"
