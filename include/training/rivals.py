"""What a candidate is measured against: the base rate, and LightGBM on the same features and the same three spans.

LightGBM stops early on the validation days, as the network does, and never sees the test days.
"""

from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from include.training.dataset import Rows
from include.training.encoding import Encoders

LIGHTGBM = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
}
ROUNDS = 1000
PATIENCE = 50


def base_rate(train: Rows, rows: Rows) -> NDArray[np.float64]:
    """The training days' share of positives, for every row."""
    return np.full(len(rows), float(train.labels.mean()))


class LightGbm:
    """Gradient boosting with fixed, sane parameters and early stopping on the validation days."""

    def __init__(self, encoders: Encoders, train: Rows, validation: Rows, seed: int, threads: int) -> None:
        self.encoders = encoders
        numeric = len(encoders.numeric)
        categories = list(range(numeric, numeric + len(encoders.category)))
        training = lgb.Dataset(self._matrix(train), train.labels, categorical_feature=categories, free_raw_data=False)
        checking = training.create_valid(self._matrix(validation), validation.labels)
        self.booster = lgb.train(
            {**LIGHTGBM, "seed": seed, "num_threads": threads},
            training,
            num_boost_round=ROUNDS,
            valid_sets=[checking],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
        )

    def probabilities(self, rows: Rows) -> NDArray[np.float64]:
        """Probabilities of the rows, float64 ``[n]``."""
        result: NDArray[np.float64] = np.asarray(self.booster.predict(self._matrix(rows)), dtype=np.float64)
        return result

    def _matrix(self, rows: Rows) -> NDArray[Any]:
        encoded = self.encoders.encode(rows.columns)
        return np.hstack([encoded.numeric.astype(np.float64), encoded.category.astype(np.float64)])
