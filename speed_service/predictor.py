"""From checked queries to probabilities: references, windows, the one feature function, the network.

Works on a batch of any size, in columns; a batch of one takes the same way. The champion and the history are
arguments, read once by the caller, so a swap in the middle of a request changes nothing for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from numpy.typing import NDArray

from include.use_case import UseCase
from speed_service.champion import Champion
from speed_service.columns import Columns, feature_columns
from speed_service.history import History
from speed_service.queries import Query


class Prediction(msgspec.Struct, gc=False):
    """The answer for one subject. ``as_of`` gives, per source, the border (RFC 3339, UTC) before which facts were
    visible, or null when none was; ``degraded`` says that it lies too far behind the prediction time."""

    id: str
    probability: float
    as_of: Mapping[str, str | None]
    degraded: bool


class Answer(msgspec.Struct, gc=False):
    """The answer to one request, in the order of its subjects."""

    model_id: str
    predictions: list[Prediction]


@dataclass(frozen=True)
class Predicted:
    """The answer to n queries, and the features that it was made from, as columns of n."""

    answer: Answer
    columns: Columns


def predict(
    use_case: UseCase,
    champion: Champion,
    history: History,
    queries: Sequence[Query],
    joined: Mapping[str, NDArray[Any]] | None = None,
) -> Predicted:
    """Predict for every query with one model and one set of tiles; ``joined``: see ``feature_columns``."""
    seen = [history.seen(query.prediction_minute) for query in queries]
    columns = feature_columns(use_case, champion.references, history, queries, seen, joined)
    probabilities = champion.bundle.probabilities(columns).tolist()
    predictions = [
        Prediction(query.id, probability, one.as_of, one.degraded)
        for query, probability, one in zip(queries, probabilities, seen, strict=True)
    ]
    return Predicted(Answer(champion.model_id, predictions), columns)
