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


def test_a_runtime_report_has_one_message_per_meter_and_no_buckets() -> None:
    telemetry, sent = recording()
    telemetry.predictions.labels("false").inc(3)
    telemetry.latency.observe(0.002)
    telemetry.publish_runtime()
    values = {message["name"]: message["value"] for message in sent}
    assert values['predictions_total{degraded="false"}'] == 3.0
    assert values["predict_seconds_count"] == 1.0
    assert not any("_bucket" in name or "_created" in name for name in values)
    assert {"metric_id", "kind", "use_case", "ds", "time", "run_id", "instance", "name", "value"} <= sent[0].keys()


def test_without_kafka_nothing_is_sent() -> None:
    telemetry = Telemetry("case", "instance", "case.metrics")
    telemetry.publish_runtime()
