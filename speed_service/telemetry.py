"""Run-time metrics: counters and histograms for Prometheus, and the messages that the service sends on Kafka.

Every app has a registry of its own, so that two apps in one process do not mix. Message schemas are those of
``<use_case>.metrics``. It does not know what a prediction is made of.
"""

import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.samples import Sample

Send = Callable[[str, bytes, bytes], None]
"""Sends ``(topic, key, value)`` without blocking; delivery is the sender's matter."""

BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
NAMESPACE = uuid.UUID("5d9be9a4-6f3b-4a8e-9c57-3f0f3f4f2a11")


class Degradable(Protocol):
    """Of a prediction, what is counted."""

    @property
    def degraded(self) -> bool:
        """Whether it had too little to go on."""


def rfc3339(moment: datetime) -> str:
    """A UTC moment as ``YYYY-MM-DDTHH:MM:SSZ``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise(moment: datetime) -> str:
    """A UTC moment to the millisecond, ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Telemetry:
    """The meters of one app. ``send`` is None until Kafka is wired; meters work without it."""

    def __init__(self, use_case: str, instance: str, topic: str) -> None:
        self.use_case = use_case
        self.instance = instance
        self.topic = topic
        self.send: Send | None = None
        if MULTIPROCESS in os.environ:
            forget_dead_workers(Path(os.environ[MULTIPROCESS]))
        self.registry = CollectorRegistry()
        self._model_id = ""
        self._make_request_meters()
        self._make_state_meters()

    def _make_request_meters(self) -> None:
        registry = self.registry
        about: dict[str, Any] = {"registry": registry, "buckets": BUCKETS}
        self.latency = Histogram("predict_seconds", "Time to answer a predict request over HTTP", **about)
        self.kafka_latency = Histogram("kafka_predict_seconds", "Time to answer what was taken from Kafka", **about)
        self.kafka_age = Histogram(
            "kafka_query_age_seconds", "From when a batch's oldest query was prepared to its delivered answer", **about
        )
        self.predictions = Counter("predictions", "Subjects answered", ["degraded"], registry=registry)
        self._degraded = {degraded: self.predictions.labels(str(degraded).lower()) for degraded in (True, False)}
        self.rejected = Counter("rejected", "Requests and queries rejected, by kind", ["reason"], registry=registry)
        self.duplicates = Counter("duplicate_queries", "Queries over Kafka answered before", registry=registry)
        self.log_dropped = Counter("log_dropped", "Answers over HTTP that were not logged", registry=registry)
        self.send_failures = Counter("kafka_send_failures", "Messages Kafka did not take", registry=registry)

    def _make_state_meters(self) -> None:
        registry = self.registry
        newest: dict[str, Any] = {"registry": registry, "multiprocess_mode": "livemostrecent"}
        summed: dict[str, Any] = {"registry": registry, "multiprocess_mode": "livesum"}
        self.swaps = Counter("model_swaps", "Models loaded or rejected", ["outcome"], registry=registry)
        self.model = Gauge("model_info", "1 for the model that is served", ["model_id"], **newest)
        self.sequence = Gauge("model_sequence", "Ledger line of the model that is served", **newest)
        self.tile_end = Gauge("tiles_end_timestamp_seconds", "End of the last published day that is held", **newest)
        self.tile_version = Gauge("tiles_table_version", "Version of the tiles table held", **newest)
        self.tile_rows = Gauge("tiles_rows", "Tiles held in memory", **newest)
        self.live_border = Gauge(
            "stream_border_timestamp_seconds", "Up to when a source was streamed", ["source"], **newest
        )
        self.freshness = Gauge(
            "as_of_lag_seconds", "How far as_of of a source lay behind the last prediction time", ["source"], **newest
        )
        self.waiting = Gauge("waiting_subjects", "Subjects over HTTP that wait to be computed", **summed)
        self.query_lag = Gauge("waiting_queries", "Queries over Kafka behind the last one answered", **summed)

    def answered(self, predictions: Sequence[Degradable]) -> None:
        """Count predictions that were made."""
        degraded = sum(prediction.degraded for prediction in predictions)
        self._degraded[True].inc(degraded)
        self._degraded[False].inc(len(predictions) - degraded)

    def saw(self, until: Mapping[str, int], minute: int) -> None:
        """Note how far each source lay behind a prediction time (minutes since 1970; 0: nothing was seen)."""
        for source, end in until.items():
            self.freshness.labels(source).set(max(0, minute - end) * 60 if end else float("nan"))

    def serves(self, model_id: str, sequence: int) -> None:
        """Another model is served."""
        if self._model_id not in ("", model_id):
            self.model.labels(self._model_id).set(0)
        self._model_id = model_id
        self.swaps.labels("loaded").inc()
        self.model.labels(model_id).set(1)
        self.sequence.set(sequence)

    def latency_summary(self) -> str:
        """The median and the 99th percentile of answers over HTTP so far, as upper bounds, for people."""
        buckets = [s for s in next(iter(self.latency.collect())).samples if s.name.endswith("_bucket")]
        count = buckets[-1].value if buckets else 0
        if not count:
            return "no answer yet"
        median, high = (_bound(buckets, count * share) for share in (0.5, 0.99))
        return f"half of {count:.0f} answers within {median}, 99 % within {high}"

    def exposition(self) -> bytes:
        """Prometheus' text format: of all worker processes when they share ``PROMETHEUS_MULTIPROC_DIR``."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def publish(self, kind: str, fields: Mapping[str, object], identity: str, run_id: str = "") -> None:
        """Send one message on the metrics topic; the same ``identity`` gives the same ``metric_id``."""
        if self.send is None:
            return
        now = rfc3339(datetime.now(UTC))
        metric_id = str(uuid.uuid5(NAMESPACE, f"{self.use_case}|{kind}|{self.instance}|{identity}"))
        message = {
            "metric_id": metric_id,
            "kind": kind,
            "use_case": self.use_case,
            "ds": now[:10],
            "time": now,
            "run_id": run_id,
            "instance": self.instance,
            **fields,
        }
        self.send(self.topic, metric_id.encode(), msgspec.json.encode(message))

    def publish_runtime(self) -> None:
        """Send every counter, sum, bucket and gauge as one ``runtime`` message each."""
        now = rfc3339(datetime.now(UTC))
        for name, value in self._samples():
            self.publish("runtime", {"name": name, "value": value}, f"{name}|{now}")

    def _samples(self) -> Iterator[tuple[str, float]]:
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name.endswith("_created") or not math.isfinite(sample.value):
                    continue
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value


def forget_dead_workers(folder: Path) -> None:
    """Remove the gauges that worker processes left in the folder that workers share; their counts stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("gauge_live*.db"):
        pid = file.stem.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def _bound(buckets: Sequence[Sample], wanted: float) -> str:
    """The upper bound of the bucket in which a rank lies."""
    bound = next(float(sample.labels["le"]) for sample in buckets if sample.value >= wanted)
    return f"{bound * 1000:g} ms" if math.isfinite(bound) else f"more than {BUCKETS[-1]:g} s"
