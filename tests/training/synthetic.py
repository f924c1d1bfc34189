"""A small world with a known signal, for tests: a feature set, rows of many days, and their Delta tables."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from deltalake import write_deltalake
from numpy.typing import NDArray

from include.bundle.bundle import Predictor
from include.features.spec import Columns, Feature, FeatureSet, Reference
from include.target import BINARY
from include.training.dataset import Rows, Split, Tables
from include.training.encoding import Encoders
from include.training.material import Material, Start
from include.training.network import Network, NetworkConfig
from include.training.scratch import Scratch

FIRST_DAY = date(2020, 1, 1)
IN_MEMORY = Scratch(Path("/nowhere"), 1 << 40)
NUMERIC = ("x", "y", "sometimes_missing", "constant")


def compute(columns: Columns) -> dict[str, NDArray[Any]]:
    """The features are the columns themselves."""
    return dict(columns)


FEATURES = FeatureSet(
    features=(
        *(Feature(name, "numeric", f"number {name}") for name in NUMERIC),
        Feature("colour", "categorical", "one of a few, with rare ones"),
    ),
    windows=(),
    references=(Reference("shops", "shop", "id", {"size": "numeric"}, "shops"),),
    function=compute,
)


def days(count: int) -> list[str]:
    """The first days of the synthetic world."""
    return [(FIRST_DAY + timedelta(days=i)).isoformat() for i in range(count)]


def rows(day_count: int, per_day: int, seed: int = 0) -> Rows:
    """Rows whose label depends on ``x`` (bent), on whether a value is missing, and on the colour."""
    random = np.random.default_rng(seed)
    n = day_count * per_day
    x, y = random.normal(size=n), random.normal(size=n)
    sometimes = np.where(random.random(n) < 0.3, np.nan, random.normal(size=n))
    colour = random.choice(np.array(["red", "green", "blue", None], dtype=object), size=n, p=[0.4, 0.3, 0.2, 0.1])
    colour[random.random(n) < 0.002] = "violet"
    logit = 2.0 * np.abs(x) - 2.0 + 1.0 * np.isnan(sometimes) + 1.0 * (colour == "red")
    labels = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    columns = {"x": x, "y": y, "sometimes_missing": sometimes, "constant": np.full(n, 3.0), "colour": colour}
    return Rows(np.repeat(np.array(days(day_count), dtype="datetime64[D]"), per_day), columns, labels, BINARY)


def spans(data: Rows, split: Split) -> tuple[Rows, Rows, Rows]:
    """The rows of train, validation and test days."""
    train, validation, test = (data.between(d[0], d[-1]) for d in (split.train, split.validation, split.test))
    return train, validation, test


def material(train: Rows, validation: Rows, start: Start | None = None, bins: int = 8) -> Material:
    """What a training is made of, in memory."""
    return Material.of(Encoders.fit(FEATURES, train.columns, bins), train, validation, IN_MEMORY, start)


def untrained(data: Rows, seed: int = 0, bins: int = 4, width: int = 16, temperature: float = 1.0) -> Predictor:
    """A small network of random weights that answers the world's rows."""
    torch.manual_seed(seed)
    encoders = Encoders.fit(FEATURES, data.columns, bins)
    network = Network(encoders, NetworkConfig(width=width, layers=1, embedding_width=2)).eval()
    return Predictor(network, encoders, temperature, target=BINARY)


def write_tables(root: Path, data: Rows, closed: list[str], features: FeatureSet = FEATURES) -> Tables:
    """Write features, labels and book as the Spark jobs do, to a local folder."""
    n = len(data)
    ids, ds = [f"s{i:06d}" for i in range(n)], data.days.astype(str).astype(object)
    frame = {"subject_id": ids, **data.columns, "features_hash": [features.hash()] * n, "ds": ds}
    write_deltalake(str(root / "features"), _table(frame), partition_by=["ds"])
    labels = {"subject_id": ids, "label": data.labels.astype(np.int32), "ds": ds}
    write_deltalake(str(root / "labels"), _table(labels), partition_by=["ds"])
    book = {"stage": ["labels"] * len(closed), "closed": [True] * len(closed), "ds": closed}
    write_deltalake(str(root / "book"), _table(book))
    return Tables(str(root), {})


def _table(columns: dict[str, Any]) -> pa.Table:
    arrays = {name: pa.array(list(v) if _is_text(v) else v, from_pandas=True) for name, v in columns.items()}
    return pa.table(arrays)


def _is_text(values: Any) -> bool:
    return isinstance(values, list) or values.dtype == object
