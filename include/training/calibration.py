"""Temperature scaling: one number, learned on the validation days, that makes probabilities mean what they say.

It changes no order, so no AUC. It knows logits and labels only.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

LOWEST, HIGHEST = 0.25, 4.0


def fit_temperature(labels: NDArray[np.float32], logits: NDArray[np.float64]) -> float:
    """The temperature in [0.25, 4] with the least log-loss of ``sigmoid(logits / temperature)``."""
    y = np.asarray(labels, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, z) - y * z))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))
