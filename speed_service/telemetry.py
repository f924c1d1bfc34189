"""Run-time metrics: counters and histograms for Prometheus, and the messages that the service sends on Kafka.

Every app has a registry of its own, so that two apps in one process do not mix. Message schemas are those of
``<use_case>.metrics``. It does not know what a prediction is made of.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

Send = Callable[[str, bytes, bytes], None]
"""Sends ``(topic, key, value)`` without blocking; delivery is the sender's matter."""

BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
NAMESPACE = uuid.UUID("5d9be9a4-6f3b-4a8e-9c57-3f0f3f4f2a11")


def rfc3339(moment: datetime) -> str:
    """A UTC moment as ``YYYY-MM-DDTHH:MM:SSZ``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Telemetry:
    """The meters of one app. ``send`` is None until Kafka is wired; meters work without it."""

    def __init__(self, use_case: str, instance: str, topic: str) -> None:
        self.use_case = use_case
        self.instance = instance
        self.topic = topic
        self.send: Send | None = None
        self.registry = CollectorRegistry()
        self.latency = Histogram(
            "predict_seconds", "Time to answer a predict request", registry=self.registry, buckets=BUCKETS
        )
        self.predictions = Counter("predictions", "Subjects answered", ["degraded"], registry=self.registry)
        self.rejected = Counter("rejected", "Requests rejected, by kind of problem", ["reason"], registry=self.registry)
        self.swaps = Counter("model_swaps", "Models loaded or rejected", ["outcome"], registry=self.registry)
        self.model = Gauge("model_info", "1 for the model that is served", ["model_id"], registry=self.registry)
        self.sequence = Gauge("model_sequence", "Ledger line of the model that is served", registry=self.registry)
        self.tile_end = Gauge(
            "tiles_end_timestamp_seconds", "End of the last published day that is held", registry=self.registry
        )
        self.tile_version = Gauge("tiles_table_version", "Version of the tiles table held", registry=self.registry)
        self.tile_rows = Gauge("tiles_rows", "Tiles held in memory", registry=self.registry)
        self.send_failures = Counter("kafka_send_failures", "Messages Kafka did not take", registry=self.registry)

    def exposition(self) -> bytes:
        """The registry in Prometheus' text format."""
        return generate_latest(self.registry)

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
        """Send every counter, sum and gauge as one ``runtime`` message each; histogram buckets stay local."""
        now = rfc3339(datetime.now(UTC))
        for name, value in self._samples():
            self.publish("runtime", {"name": name, "value": value}, f"{name}|{now}")

    def _samples(self) -> Iterator[tuple[str, float]]:
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_created")):
                    continue
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                yield (f"{sample.name}{{{labels}}}" if labels else sample.name), sample.value
