"""LightGBM and the base rate give probabilities on the same encoders and spans."""

import numpy as np

from include.training.encoding import Encoders
from include.training.metrics import quality
from include.training.rivals import LightGbm, base_rate
from tests.training.synthetic import FEATURES, days, rows


def test_rivals_give_probabilities() -> None:
    data = rows(day_count=3, per_day=500)
    train, validation, test = (data.on([day]) for day in days(3))
    booster = LightGbm(Encoders.fit(FEATURES, train.columns), train, validation, seed=0, threads=1)
    assert quality(test.labels, booster.probabilities(test)).auc > 0.72
    assert np.unique(base_rate(train, test)).tolist() == [float(train.labels.mean())]
