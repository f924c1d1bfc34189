"""What makes answers mean what they say: a level from the training days, a temperature from the validation days.

Neither changes an order, so no AUC. A temperature, which is for probabilities alone, is kept only where the validation
days agree on it beyond chance: a month has its own level and sharpness, which are not the model's fault, and the next
month has others. It knows scores, labels and days only.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from include.target import Target

LOWEST, HIGHEST = 0.25, 4.0
#: Standard errors that a slope must be away from 1 (95 %, normal approximation).
BEYOND_CHANCE = 1.96
MOST_STEPS = 50


def fit_shift(target: Target, labels: NDArray[Any], scores: NDArray[np.float64]) -> float:
    """What to add to the scores so that the mean answer is the labels' mean; 0 for labels of one class, or all zero.

    Networks that were trained with dropout answer without it a little off their training rows' level.
    """
    share = float(np.mean(labels, dtype=np.float64))
    if target.kind == "count":
        return float(np.log(share / target.respond(scores).mean())) if share > 0.0 else 0.0
    if not 0.0 < share < 1.0:
        return 0.0
    reach = float(np.abs(scores).max()) + 40.0
    return float(brentq(lambda shift: expit(scores + shift).mean() - share, -reach, reach))


def fit_temperature(target: Target, labels: NDArray[Any], logits: NDArray[np.float64], days: NDArray[Any]) -> float:
    """The temperature in [0.25, 4] by which ``sigmoid(logits / temperature + any level)`` fits best; 1 within chance.

    ``days`` are the rows' days: the slope's standard error is that of clustered rows (Liang and Zeger, *Longitudinal
    data analysis using generalized linear models*, Biometrika 73, 1986). With fewer than two days, and
    for counts, it is 1.
    """
    if target.kind == "count":
        return 1.0
    y = np.asarray(labels, dtype=np.float64)
    _, day = np.unique(days, return_inverse=True)
    if day.max(initial=0) < 1 or not 0.0 < y.mean() < 1.0:
        return 1.0
    slope, error = _slope(y, np.asarray(logits, dtype=np.float64), day)
    if not abs(slope - 1.0) > BEYOND_CHANCE * error:
        return 1.0
    return float(np.clip(1.0 / max(slope, 1.0 / HIGHEST), LOWEST, HIGHEST))


def _slope(y: NDArray[np.float64], logits: NDArray[np.float64], day: NDArray[np.intp]) -> tuple[float, float]:
    """Slope of a logistic regression of the labels on the logits and a constant, and its standard error by days."""
    x = np.column_stack([logits, np.ones_like(logits)])
    weights = np.array([1.0, 0.0])
    for _ in range(MOST_STEPS):
        p = expit(x @ weights)
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, x.T @ (y - p))
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    p = expit(x @ weights)
    scores = x * (y - p)[:, None]
    by_day = np.column_stack([np.bincount(day, weights=column) for column in scores.T])
    bread = np.linalg.inv((x * (p * (1.0 - p))[:, None]).T @ x + 1e-9 * np.eye(2))
    days = len(by_day)
    covariance = bread @ (by_day.T @ by_day) @ bread * days / (days - 1)
    return float(weights[0]), float(np.sqrt(covariance[0, 0]))
