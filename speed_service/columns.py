"""From checked queries to feature columns, by the definitions that the batch layer uses: the one tile kernel, the one
feature function. A batch of one takes the same way as a thousand.

Queries become NumPy columns directly; a test holds them equal to the batch layer's way through Arrow.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.contracts.contract import Contract, Field
from include.features.columns import References, compute_features
from include.tiles.kernel import Keys, window_columns
from include.use_case import UseCase
from speed_service.history import History, Seen
from speed_service.queries import Query

Columns = dict[str, NDArray[Any]]


def feature_columns(
    use_case: UseCase,
    references: References,
    history: History,
    queries: Sequence[Query],
    seen: Sequence[Seen],
    joined: Mapping[str, NDArray[Any]] | None = None,
) -> Columns:
    """The features of n queries, as columns of length n in the form that a bundle takes.

    ``seen`` is what each could see of the sources; ``joined`` are reference columns that came with the queries, without
    them they are looked up.
    """
    records = [query.record for query in queries]
    subjects = subject_columns(records, use_case.subject)
    plan = use_case.features.plan
    keys = {key: key_texts(records, key) for key in {key for _, key in plan.groups}}
    minutes = np.array([query.prediction_minute for query in queries], dtype=np.int64)
    windows = window_columns(history.indexes, plan, keys, minutes, _seen_until(seen, minutes))
    return compute_features(subjects, windows, references, use_case.features, joined)


def _seen_until(seen: Sequence[Seen], minutes: NDArray[np.int64]) -> dict[str, NDArray[np.int64]] | None:
    """Per source the minute where what was seen ends, for each query; None where nothing is missing."""
    if all(one.complete for one in seen):
        return None
    return {name: np.array([one.until[name] for one in seen], dtype=np.int64) for name in seen[0].until}


def subject_columns(records: Sequence[Any], contract: Contract) -> Columns:
    """The contract's fields of n records (see ``Query``) as the feature function takes them, ``prediction_time`` too.

    Times become datetime64[s] (None: NaT), numbers float64 (None: NaN), texts object.
    """
    return {field.name: _column(list(map(attrgetter(field.name), records)), field) for field in contract.fields}


def _column(values: list[Any], field: Field) -> NDArray[Any]:
    if field.type == "string":
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    if field.type == "timestamp":
        return np.array([_NO_TIME if v is None else v for v in values], dtype=np.int64).view("datetime64[s]")
    return np.array([np.nan if v is None else v for v in values] if field.nullable else values, dtype=np.float64)


_NO_TIME = np.iinfo(np.int64).min


def key_texts(records: Sequence[Any], fields: tuple[str, ...]) -> Keys:
    """The records' keys: the fields' texts joined with ``|``, None where any is null."""
    if len(fields) == 1:
        return [v if v is None or isinstance(v, str) else str(v) for v in map(attrgetter(fields[0]), records)]
    if len(fields) == 2:  # the usual case, at half the price
        pairs = zip(*(map(attrgetter(name), records) for name in fields), strict=True)
        return [None if one is None or other is None else f"{one}|{other}" for one, other in pairs]
    return [None if None in parts else "|".join(map(str, parts)) for parts in map(attrgetter(*fields), records)]
