"""From checked queries to answers: references, windows, the one feature function, the network.

Works on a batch of any size, in columns; a batch of one takes the same way. The champion and the history are
arguments, read once by the caller, so a swap in the middle of a request changes nothing for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from numpy.typing import NDArray

from include.use_case import UseCase
from speed_service.champion import Champion
from speed_service.columns import Columns, feature_columns
from speed_service.history import History
from speed_service.queries import Query

AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)


class Prediction(msgspec.Struct, gc=False):
    """The answer for one subject. ``as_of`` gives, per source, the border (RFC 3339, UTC) before which facts were
    visible, or null when none was; ``degraded`` says that it lies too far behind the prediction time.

    In JSON ``answer`` has the target's name for it: ``probability`` or ``value`` (see ``called``).
    """

    id: str
    answer: float
    as_of: Mapping[str, str | None]
    degraded: bool


@cache
def called(kind: type[AnyStruct], name: str) -> type[AnyStruct]:
    """The same struct with its field ``answer`` called ``name`` in JSON."""
    fields = [
        (field.name, field.type, msgspec.field(name=name)) if field.name == "answer" else (field.name, field.type)
        for field in msgspec.structs.fields(kind)
    ]
    frozen = kind.__struct_config__.frozen
    return cast(type[AnyStruct], msgspec.defstruct(kind.__name__, fields, bases=(kind,), frozen=frozen, gc=False))


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
    answers = champion.bundle.answers(columns).tolist()
    make = called(Prediction, use_case.target.answer)
    predictions = [
        make(query.id, answer, one.as_of, one.degraded)
        for query, answer, one in zip(queries, answers, seen, strict=True)
    ]
    return Predicted(Answer(champion.model_id, predictions), columns)
