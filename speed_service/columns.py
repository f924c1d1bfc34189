"""From checked queries to feature columns, by the definitions that the batch layer uses: the one conversion of fields,
the one tile kernel, the one feature function. A batch of one takes the same way as a thousand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from include.features.columns import References, compute_features, key_texts, numpy_column, subject_table
from include.tiles.kernel import TileIndex, minutes_of, window_columns
from include.use_case import UseCase
from speed_service.queries import PREDICTION_TIME, Query


def feature_columns(
    use_case: UseCase, references: References, indexes: Mapping[str, TileIndex], queries: Sequence[Query]
) -> dict[str, NDArray[Any]]:
    """The features of n queries, as columns of length n in the form that a bundle takes."""
    subjects = subject_table(
        ({**query.values, PREDICTION_TIME: query.prediction_time} for query in queries), use_case.subject
    )
    windows = use_case.features.windows
    keys = {key: key_texts(subjects, key) for key in {window.key for window in windows}}
    minutes = minutes_of(numpy_column(subjects.column(PREDICTION_TIME)))
    return compute_features(subjects, window_columns(indexes, windows, keys, minutes), references, use_case.features)
