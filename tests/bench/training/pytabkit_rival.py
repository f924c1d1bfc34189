"""Trains one of pytabkit's networks and writes its curve of accuracy over time; runs in the rivals' environment.

The published defaults hold but for one thing: the epoch kept is chosen by cross-entropy on the validation days, not by
wrong answers, because probabilities are what is compared. ``realmlp-td-no-smoothing`` also trains without label
smoothing, as pytabkit's documentation recommends for cross-entropy and AUC. It does not know our network, and imports
nothing of the project.

    python pytabkit_rival.py --data DIR --method tabm-d --seed 1 --threads 2 --limit-s 600 --out FILE.json

DIR holds ``train.npz``, ``validation.npz`` and ``test.npz``: ``numeric`` (NaN is missing), ``category``, ``labels``.
The clock runs from the call of ``fit`` and stands still while this script predicts and writes. The file is replaced
after each epoch, so that what was measured before the process is killed counts.
"""

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytabkit
import pytorch_lightning
import torch
from numpy.typing import NDArray
from pytabkit.models.alg_interfaces import tabm_interface
from pytabkit.models.training.lightning_modules import TabNNModule
from pytabkit.models.training.metrics import Metrics
from sklearn.metrics import roc_auc_score

SPANS = ("train", "validation", "test")
#: As in our own metrics: one wrong certainty must not make the log-loss infinite.
EDGE = 1e-7
Probabilities = NDArray[np.float64]


class LimitReached(Exception):
    """The time is over: training ends where it is."""


class Clock:
    """Wall seconds since ``start``, without those spent under ``paused``."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._began = time.monotonic()
        self._stopped: float | None = None

    def start(self) -> None:
        """Begin at zero."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it ran."""
        return (self._stopped if self._stopped is not None else time.monotonic()) - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in here costs the rival nothing."""
        self._stopped = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - self._stopped
            self._stopped = None

    def check(self) -> None:
        """Raise ``LimitReached`` once the limit is passed, unless paused."""
        if self._stopped is None and self.seconds > self.limit_s:
            raise LimitReached


@dataclass(frozen=True)
class Data:
    """The three spans as pytabkit takes them."""

    frames: dict[str, pd.DataFrame]
    labels: dict[str, NDArray[np.int64]]
    categorical: list[str]


def load(folder: Path) -> Data:
    """Read the spans and fill what is missing, which pytabkit leaves to its caller."""
    files = {span: dict(np.load(folder / f"{span}.npz")) for span in SPANS}
    numeric, missing = imputed({span: file["numeric"] for span, file in files.items()})
    frames, categorical = {}, list[str]()
    for span, file in files.items():
        codes = np.column_stack([file["category"], missing[span]])
        categorical = [f"c{i}" for i in range(codes.shape[1])]
        numbers = pd.DataFrame(numeric[span], columns=[f"n{i}" for i in range(numeric[span].shape[1])])
        frames[span] = pd.concat([numbers, pd.DataFrame(codes, columns=categorical)], axis=1)
    return Data(frames, {span: file["labels"].astype(np.int64) for span, file in files.items()}, categorical)


def imputed(
    numeric: dict[str, NDArray[np.float32]],
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.int64]]]:
    """The numbers with the training median for what is missing, and indicators of it, one for columns missing together.

    The indicators become categories of two values: as numbers, TabM's quantile transformation would send them to the
    ends of its range, and RealMLP would spend a numeric embedding on each.
    """
    absent = np.isnan(numeric["train"])
    median = np.zeros(absent.shape[1], dtype=np.float32)
    known = ~absent.all(axis=0)
    median[known] = np.nanmedian(numeric["train"][:, known], axis=0)
    _, first = np.unique(np.packbits(absent, axis=0), axis=1, return_index=True)
    chosen = sorted(column for column in first if absent[:, column].any() and known[column])
    filled = {span: np.where(np.isnan(values), median, values) for span, values in numeric.items()}
    return filled, {span: np.isnan(values[:, chosen]).astype(np.int64) for span, values in numeric.items()}


class Recorder:
    """The curve so far, in memory and in the file."""

    def __init__(self, out: Path, head: dict[str, Any], labels: dict[str, NDArray[np.int64]], clock: Clock) -> None:
        self.clock = clock
        self._out, self._head, self._labels = out, head, labels
        self._curve: list[list[float]] = []
        self._epochs = 0

    def epoch(self, validation: torch.Tensor, test: Callable[[], torch.Tensor]) -> None:
        """Add the point after an epoch, from log-probabilities or logits; ends the training if the time is over."""
        with self.clock.paused():
            self._epochs += 1
            self._add(positive(validation), positive(test()))
            self.write(finished=False)
        self.clock.check()

    def final(self, validation: Probabilities, test: Probabilities) -> None:
        """Add the point of the finished model: the kept epoch's, when all training was over."""
        self._add(validation, test)
        self.write(finished=True)

    def write(self, finished: bool) -> None:
        """Replace the file by what is known now."""
        state = {"fit_seconds": self.clock.seconds, "finished": finished, "epochs": self._epochs, "curve": self._curve}
        part = self._out.with_name(self._out.name + ".part")
        part.write_text(json.dumps(self._head | state))
        part.replace(self._out)

    def _add(self, validation: Probabilities, test: Probabilities) -> None:
        figures = [*quality(self._labels["validation"], validation), *quality(self._labels["test"], test)]
        self._curve.append([self.clock.seconds, *figures])


def positive(logits: torch.Tensor) -> Probabilities:
    """Probabilities of the second of two classes from logits ``[..., n, 2]`` of one model."""
    chances = torch.softmax(logits.detach().cpu().double(), dim=-1)[..., 1]
    return np.asarray(chances.reshape(-1).numpy(), dtype=np.float64)


def quality(labels: NDArray[np.int64], probabilities: Probabilities) -> tuple[float, float]:
    """AUC and log-loss; both NaN where training diverged."""
    if not np.isfinite(probabilities).all():
        return float("nan"), float("nan")
    p = np.clip(probabilities, EDGE, 1.0 - EDGE)
    losses = -np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(roc_auc_score(labels, probabilities)), float(losses.mean())


def watch_tabm(estimator: Any, test: pd.DataFrame, recorder: Recorder) -> None:
    """Make TabM's training tell of each epoch.

    Its loop is one function without hooks, but it looks up two names of its module that can stand in for them: the
    model's class, and the metric that it computes once per epoch from the validation predictions. The pinned version
    makes sure that both are where they are looked for.
    """
    test_rows: list[Any] = []

    def build(**options: Any) -> Any:
        model = plain_model(**options)
        model.register_forward_pre_hook(lambda *_: recorder.clock.check())
        # Where the interface itself puts it, but only at the end of the training, for its own predict
        estimator.cv_alg_interface_.sub_split_interfaces[0].model_ = model
        return model

    def predict() -> torch.Tensor:
        if not test_rows:
            test_rows.append(estimator.x_converter_.transform(test))
        logits: torch.Tensor = estimator.cv_alg_interface_.sub_split_interfaces[0].predict(test_rows[0])
        return logits

    class Watched(Metrics):
        """Tells the recorder what the loop asks about."""

        @staticmethod
        def apply(y_pred: torch.Tensor, y: torch.Tensor, metric_name: str) -> torch.Tensor:
            # The loop hands over probabilities, but the metric takes logits: harmless for the default, wrong answers,
            # yet the cross-entropy of a second softmax would choose another epoch. The logarithm puts it right.
            logits = torch.log(y_pred + 1e-30)
            recorder.epoch(logits, predict)
            return Metrics.apply(logits, y, metric_name)

    plain_model = tabm_interface.Model
    tabm_interface.Model = build
    tabm_interface.Metrics = Watched


def watch_realmlp(estimator: Any, test: pd.DataFrame, recorder: Recorder) -> None:
    """Make RealMLP's training tell of each epoch, through one more callback in the list that its module makes."""

    class Watch(pytorch_lightning.Callback):
        """Tells the recorder after each validation, and ends the training in the midst of an epoch."""

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            with recorder.clock.paused():
                self.test = pl_module.get_predict_dataloader(estimator.x_converter_.transform(test))

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            recorder.clock.check()

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            recorder.epoch(torch.cat(pl_module.val_preds, dim=-2), lambda: self.predict(pl_module.model))

        def predict(self, model: Any) -> torch.Tensor:
            training = model.training
            model.eval()
            with torch.no_grad():
                logits = torch.cat([model(batch)["x_cont"] for batch in self.test], dim=-2)
            model.train(training)
            return logits

    plain_callbacks = TabNNModule.create_callbacks

    def create_callbacks(self: Any) -> list[Any]:
        return [*plain_callbacks(self), Watch()]

    TabNNModule.create_callbacks = create_callbacks


@dataclass(frozen=True)
class Method:
    """A classifier of pytabkit, what is set beside its defaults, and how its epochs are watched."""

    classifier: Any
    settings: dict[str, Any]
    watch: Callable[[Any, pd.DataFrame, Recorder], None]


METHODS = {
    "tabm-d": Method(pytabkit.TabM_D_Classifier, {}, watch_tabm),
    "realmlp-td": Method(pytabkit.RealMLP_TD_Classifier, {}, watch_realmlp),
    "realmlp-td-no-smoothing": Method(pytabkit.RealMLP_TD_Classifier, {"use_ls": False}, watch_realmlp),
}


def train(method: Method, data: Data, recorder: Recorder, seed: int, threads: int) -> None:
    """Fit until the method is done or the time is over; everything measured is in the recorder's file."""
    estimator = method.classifier(
        device="cpu", random_state=seed, n_threads=threads, val_metric_name="cross_entropy", **method.settings
    )
    method.watch(estimator, data.frames["test"], recorder)
    rows = pd.concat([data.frames["train"], data.frames["validation"]], ignore_index=True)
    labels = np.concatenate([data.labels["train"], data.labels["validation"]])
    validation = np.arange(len(data.labels["train"]), len(rows))
    recorder.clock.start()
    try:
        estimator.fit(rows, labels, val_idxs=validation, cat_col_names=data.categorical)
    except LimitReached:
        recorder.write(finished=False)
        return
    with recorder.clock.paused():
        recorder.final(*(estimator.predict_proba(data.frames[span])[:, 1] for span in ("validation", "test")))


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", choices=sorted(METHODS), required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--limit-s", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load(options.data)
    head = {
        "method": options.method,
        "version": importlib.metadata.version("pytabkit"),
        "seed": options.seed,
        "threads": options.threads,
    }
    recorder = Recorder(options.out, head, data.labels, Clock(options.limit_s))
    train(METHODS[options.method], data, recorder, options.seed, options.threads)


if __name__ == "__main__":
    main()
