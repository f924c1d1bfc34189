"""From checked queries to probabilities: references, windows, the one feature function, the network.

Works on a batch of any size, in columns; a batch of one takes the same way. The champion and the history are
arguments, read once by the caller, so a swap in the middle of a request changes nothing for it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from include.use_case import UseCase
from speed_service.champion import Champion
from speed_service.columns import feature_columns
from speed_service.history import History, Visible, visible
from speed_service.queries import Query
from speed_service.telemetry import rfc3339


class Prediction(msgspec.Struct):
    """The answer for one subject. ``as_of`` gives, per source, the border (RFC 3339, UTC) before which facts were
    visible, or null when none was; ``degraded`` says that it lies too far behind the prediction time."""

    id: str
    probability: float
    as_of: dict[str, str | None]
    degraded: bool


class Answer(msgspec.Struct):
    """The answer to one request, in the order of its subjects."""

    model_id: str
    predictions: list[Prediction]


def answer(use_case: UseCase, champion: Champion, history: History, queries: Sequence[Query]) -> Answer:
    """Predict for every query with one model and one set of tiles."""
    columns = feature_columns(use_case, champion.references, history.indexes, queries)
    probabilities = champion.bundle.probabilities(columns).tolist()
    seen: dict[datetime, tuple[dict[str, str | None], bool]] = {}
    predictions = []
    for query, probability in zip(queries, probabilities, strict=True):
        moment = query.prediction_time
        if moment not in seen:
            seen[moment] = _told(visible(history, use_case, moment))
        predictions.append(Prediction(query.id, probability, *seen[moment]))
    return Answer(champion.model_id, predictions)


def _told(sources: Mapping[str, Visible]) -> tuple[dict[str, str | None], bool]:
    as_of = {name: None if seen.as_of is None else rfc3339(seen.as_of) for name, seen in sources.items()}
    return as_of, any(seen.degraded for seen in sources.values())
