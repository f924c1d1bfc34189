"""The meters, in one process and in several; messages on the metrics topic: identity, and what a report holds."""

import os
import subprocess
import sys
from pathlib import Path
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


WORKER = """
import sys
from speed_service.telemetry import Telemetry
telemetry = Telemetry("case", sys.argv[1], "case.metrics")
telemetry.serves("model-" + sys.argv[1], int(sys.argv[1]))
telemetry.predictions.labels("false").inc(3)
telemetry.latency.observe(0.002)
telemetry.waiting.set(5)
telemetry.live_border.labels("a").set(60 * int(sys.argv[1]))
print("up", flush=True)
sys.stdin.readline()
print(telemetry.exposition().decode())
"""


def start_worker(folder: Path, number: int) -> "subprocess.Popen[str]":
    """A worker process that has counted something and waits for a line before it tells all that it sees."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(number)],
        **{"env": environment, "cwd": Path(__file__).resolve().parents[2], "text": True},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None and worker.stdout.readline() == "up\n"
    return worker


def test_several_workers_tell_the_sum_of_what_they_counted(tmp_path: Path) -> None:
    dead = start_worker(tmp_path / "shared", 1)
    dead.kill()
    dead.communicate()
    workers = [start_worker(tmp_path / "shared", number) for number in (2, 3)]
    told = [worker.communicate("tell\n", timeout=60)[0] for worker in workers]
    lines = told[0].splitlines()
    assert 'predictions_total{degraded="false"} 9.0' in lines, "what a worker counted outlives it"
    assert "predict_seconds_count 3.0" in lines and 'predict_seconds_bucket{le="0.002"} 3.0' in lines
    assert "waiting_subjects 10.0" in lines, "the dead one's queue is gone"
    assert 'stream_border_timestamp_seconds{source="a"} 180.0' in lines
    assert "model_sequence 3.0" in lines and not any("model-1" in line for line in lines)
