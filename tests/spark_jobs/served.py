"""What the speed service would have said about rows of the features table, for tests of what becomes of answers."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from include.broadcast import Broadcaster
from include.settings import KafkaSettings
from tests.spark_jobs import steps

FEATURES = steps.BASE.features
MODEL = "model-of-the-test"
SOURCES = [contract.name for contract in steps.BASE.sources]


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def floor(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def message(row: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """What the speed service would have said about a row of the features table, had it seen everything."""
    moment = row["prediction_time"]
    return {
        "id": row["subject_id"],
        "model_id": MODEL,
        "sequence": 1,
        "probability": (abs(hash_of(row["subject_id"])) % 1000) / 1000,
        "as_of": {source: text(floor(moment)) for source in SOURCES},
        "degraded": False,
        "prediction_time": text(moment),
        "predicted_at": text(moment),
        "via": "kafka",
        "features": {feature.name: row[feature.name] for feature in FEATURES.features},
        "features_hash": FEATURES.hash(),
    } | changes


def hash_of(name: str) -> int:
    return sum(ord(letter) * (number + 1) for number, letter in enumerate(name))


def send(topic: str, values: Sequence[Mapping[str, Any] | bytes]) -> None:
    sender = Broadcaster(KafkaSettings.from_environment())
    sender.send((topic, "", value if isinstance(value, bytes) else json.dumps(value).encode()) for value in values)
