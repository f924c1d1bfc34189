"""One message of the predictions topic as a row of the table ``predictions``.

It knows the message's fields (``docs/schemas``), not Kafka and not what becomes of the rows.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from include.features.spec import Feature
from include.target import Target

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
#: Stands for both kinds of feature in the message; which one a feature must be is the feature set's word.
FeatureValue = float | str | None


class PredictionMessage(msgspec.Struct, frozen=True):
    """An answer to one query, with the features it was made from. Fields that this reader does not know are let be.

    Of ``probability`` and ``value`` a message has the one that its target's answers are called.
    """

    id: str
    prediction_time: Moment
    predicted_at: Moment
    model_id: str
    sequence: int
    degraded: bool
    via: Literal["kafka", "http"]
    as_of: dict[str, Moment | None]
    features: dict[str, FeatureValue]
    features_hash: str
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    value: Annotated[float, msgspec.Meta(ge=0)] | None = None


_decoder = msgspec.json.Decoder(PredictionMessage)


def prediction_row(value: bytes | None, features: Sequence[Feature], target: Target) -> dict[str, Any]:
    """The table's columns but ``run_id`` and where the message lay; raises ``ValueError`` that names the field.

    A feature that the message lacks is null; one that the running code does not know is left out: both happen only
    to messages of another definition of the features, which ``features_hash`` tells apart.
    """
    try:
        message = _decoder.decode(value or b"")
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    answer = getattr(message, target.answer)
    if answer is None:
        raise ValueError(f"{target.answer}: required")
    moment = message.prediction_time.astimezone(UTC)
    return {
        "id": message.id,
        "prediction_time": moment,
        "predicted_at": message.predicted_at,
        "model_id": message.model_id,
        "sequence": message.sequence,
        target.answer: answer,
        "degraded": message.degraded,
        "via": message.via,
        "as_of": list(message.as_of.items()),
        **{feature.name: feature_value(feature, message.features) for feature in features},
        "features_hash": message.features_hash,
        "ds": moment.date().isoformat(),
    }


def feature_value(feature: Feature, values: Mapping[str, FeatureValue]) -> FeatureValue:
    """A feature's value, null if there is none; raises ``ValueError`` if it is of the other kind."""
    value = values.get(feature.name)
    if value is not None and isinstance(value, str) != (feature.kind == "categorical"):
        raise ValueError(f"features.{feature.name}: {value!r} is not {feature.kind}")
    return value
