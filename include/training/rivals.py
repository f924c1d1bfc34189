"""What a candidate is measured against: the base rate, and a tuned LightGBM on the same features and three spans.

LightGBM gets what the network gets: as many trials, as much time, chosen by the loss on the validation days, early
stopping there. It never sees the test days.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightgbm as lgb
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from include.target import Kind, validated
from include.training.dataset import ROWS_AT_ONCE, Rows
from include.training.encoding import Encoded
from include.training.material import Material
from include.training.metrics import loss

#: Objective and its figure on held-back rows, by kind of target: Poisson's is a negative log-likelihood.
OBJECTIVES: Mapping[Kind, tuple[str, str]] = {"binary": ("binary", "binary_logloss"), "count": ("poisson", "poisson")}
FIXED = {
    "bagging_freq": 1,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    # Otherwise the first trial's min_child_samples would drop features for all.
    "feature_pre_filter": False,
}
#: The first trial, so that no search ends below it.
DEFAULT = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "lambda_l2": 1.0,
}
ROUNDS = 1000
PATIENCE = 50
#: So many trees the first trial may grow whatever the time: fewer would be no rival.
LEAST_ROUNDS = 200


def base_rate(train: Rows, rows: Rows) -> NDArray[np.float64]:
    """The training days' mean label, for every row."""
    return np.full(len(rows), float(train.labels.mean()))


class LightGbm:
    """Gradient boosting with the best parameters of a search: the sane defaults first, then as Optuna (TPE) proposes.

    With a ``time_limit_s`` the search ends after so many seconds. The trial it is in does not count then, but for the
    first, which is taken as far as it has grown, and grows ``LEAST_ROUNDS`` trees all the same.
    ``trials`` says how many count, ``config`` are the parameters of the best, ``cut_short`` that the first was stopped.
    Equal inputs give equal trees; a time limit that bites makes their choice depend on the machine.
    """

    def __init__(
        self,
        material: Material,
        seed: int,
        threads: int,
        trials: int = 1,
        time_limit_s: float | None = None,
    ) -> None:
        self.material = material
        self.asked = trials
        self.config: dict[str, Any] = {}
        self._best = np.inf
        self.cut_short = False
        objective, self._figure = OBJECTIVES[material.target.kind]
        self.booster: Any = None
        self._parameters = {**FIXED, "objective": objective, "seed": seed, "num_threads": threads}
        training = self._dataset(material.train_rows, self._parameters)
        held_back = EncodedRows(material.rows, material.train_rows, len(material.rows))
        checking = training.create_valid(held_back, material.labels[material.train_rows :])
        deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial(DEFAULT)
        study.optimize(
            lambda trial: self._attempt(trial, training, checking, deadline),
            n_trials=trials,
            callbacks=[_stop_when_out_of_time],
        )
        self.trials = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        chosen = self._predicted(self.booster, held_back)
        self.validation_loss = loss(material.target, material.labels[material.train_rows :], chosen)
        self.final = self.refit()

    def refit(self, seed: int | None = None) -> Any:
        """The best configuration trained on both spans, for as many rounds as were best on the validation days."""
        parameters = self._parameters if seed is None else {**self._parameters, "seed": seed}
        data = self._dataset(len(self.material.rows), parameters)
        return lgb.train({**parameters, **self.config}, data, num_boost_round=self.booster.best_iteration)

    def answers(self, rows: Rows) -> NDArray[np.float64]:
        """Answers for the rows, float64 ``[n]``, by the trees that were trained on both spans."""
        return self.answers_of(self.final, rows)

    def validated_answers(self, rows: Rows) -> NDArray[np.float64]:
        """Answers by the trees that have not seen the validation days."""
        return self.answers_of(self.booster, rows)

    def answers_of(self, booster: Any, rows: Rows) -> NDArray[np.float64]:
        """Answers by the trees of ``refit``."""
        encoded = self.material.encoders.encode(rows.columns)
        return self._predicted(booster, EncodedRows(encoded, 0, len(encoded)))

    def _predicted(self, booster: Any, rows: "EncodedRows") -> NDArray[np.float64]:
        answers = np.empty(len(rows))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            answers[start : start + ROWS_AT_ONCE] = booster.predict(rows[start : start + ROWS_AT_ONCE])
        return answers

    def to_json(self) -> dict[str, Any]:
        """How it was tuned, as a JSON object."""
        return {
            "trials": self.trials,
            "trials_asked": self.asked,
            "config": self.config,
            "rounds": int(self.booster.best_iteration),
            "cut_short": self.cut_short,
            validated(self.material.target.loss): self.validation_loss,
        }

    def _attempt(
        self, trial: optuna.Trial, training: lgb.Dataset, checking: lgb.Dataset, deadline: float | None
    ) -> float:
        config = propose(trial)
        limits = [] if deadline is None else [self._until(deadline, first=trial.number == 0)]
        booster = lgb.train(
            {**self._parameters, **config},
            training,
            num_boost_round=ROUNDS,
            valid_sets=[checking],
            callbacks=[lgb.early_stopping(PATIENCE, verbose=False), *limits],
        )
        score = float(booster.best_score["valid_0"][self._figure])
        if score < self._best:
            self.booster, self.config, self._best = booster, config, score
        return score

    def _until(self, deadline: float, first: bool) -> Callable[[Any], None]:
        """A callback that gives a trial up once the deadline has passed, or takes what the first one has grown."""

        def check(now: Any) -> None:
            if time.monotonic() <= deadline:
                return
            if not first:
                raise optuna.TrialPruned
            if now.iteration + 1 >= LEAST_ROUNDS:
                self.cut_short = True
                raise lgb.callback.EarlyStopException(now.iteration, now.evaluation_result_list)

        return check

    def _dataset(self, count: int, parameters: dict[str, Any]) -> lgb.Dataset:
        """The first ``count`` rows, binned; LightGBM keeps a byte of each number."""
        rows = self.material.rows
        numeric = rows.numeric.shape[1]
        categories = list(range(numeric, numeric + rows.category.shape[1]))
        return lgb.Dataset(
            EncodedRows(rows, 0, count), self.material.labels[:count], categorical_feature=categories, params=parameters
        )


class EncodedRows(lgb.Sequence):
    """Rows of encoded ones, as LightGBM reads them some at a time: numbers, then codes, float64."""

    batch_size = ROWS_AT_ONCE

    def __init__(self, rows: Encoded, start: int, end: int) -> None:
        self.rows, self.start, self.end = rows, start, end

    def __getitem__(self, index: int | slice | list[int]) -> NDArray[np.float64]:
        # LightGBM samples hundreds of thousands of rows one by one: what one costs must not grow with their number.
        place: Any = self._place(index)
        return np.concatenate([self.rows.numeric[place], self.rows.category[place]], axis=-1, dtype=np.float64)

    def __len__(self) -> int:
        return self.end - self.start

    def _place(self, index: int | slice | list[int]) -> int | slice | list[int]:
        """Where among all encoded rows."""
        own = range(self.start, self.end)
        if isinstance(index, slice):
            span = own[index]
            return slice(span.start, span.stop, span.step)
        return [own[i] for i in index] if isinstance(index, list) else own[index]


def propose(trial: optuna.Trial) -> dict[str, Any]:
    """One configuration of the search space."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 7, 127, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 30.0, log=True),
    }


def _stop_when_out_of_time(study: optuna.Study, trial: FrozenTrial) -> None:
    if trial.state == TrialState.PRUNED:
        study.stop()
