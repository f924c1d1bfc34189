"""Features and labels of closed days from the Delta tables, at pinned versions, in three spans of time.

Train, validation and test follow each other in time and never mix: the search sees train and validation, the gate
the test days. It knows the tables' columns, not who wrote them, nor what is trained on them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from include.features.spec import FeatureSet
from include.locations import LAKE_BUCKET
from include.settings import S3Settings

PINNED_TABLES = ("features", "labels", "book")
MINIMUM_ROWS = 100


class DatasetError(ValueError):
    """The window has too few closed days, rows or classes to train on; the message says which and what to do."""


@dataclass(frozen=True)
class Tables:
    """Where a use case's Delta tables lie, and how to sign in."""

    root: str
    options: Mapping[str, str]

    @classmethod
    def on_s3(cls, use_case: str, settings: S3Settings) -> "Tables":
        """The tables of a use case in the lake bucket."""
        return cls(f"s3://{LAKE_BUCKET}/{use_case}", settings.delta_options())

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Open a table at a version (the newest by default)."""
        return DeltaTable(f"{self.root}/{table}", version=version, storage_options=dict(self.options))


@dataclass(frozen=True)
class Split:
    """Days (``YYYY-MM-DD``, rising) of each span."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """First and last day and count of each span."""
        spans = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: {"from_ds": d[0], "to_ds": d[-1], "days": list(d)} for name, d in spans.items()}


@dataclass(frozen=True)
class Rows:
    """Labelled subjects as columns of length n, ordered by day and subject id."""

    subject_ids: NDArray[Any]
    days: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def on(self, days: Sequence[str]) -> "Rows":
        """The rows of some of the days."""
        keep = np.isin(self.days.astype(str), np.array(days, dtype=str))
        columns = {name: values[keep] for name, values in self.columns.items()}
        return Rows(self.subject_ids[keep], self.days[keep], columns, self.labels[keep])


@dataclass(frozen=True)
class Dataset:
    """The three spans, and what they were read from."""

    train: Rows
    validation: Rows
    test: Rows
    split: Split
    versions: Mapping[str, int]


def pin_versions(tables: Tables) -> dict[str, int]:
    """The newest version of every table a training run reads."""
    return {table: tables.open(table).version() for table in PINNED_TABLES}


def closed_days(tables: Tables, versions: Mapping[str, int], from_day: date, to_day: date) -> list[str]:
    """Days of the window (inclusive) whose labels are closed in the book, rising."""
    book = tables.open("book", versions["book"]).to_pyarrow_table(columns=["stage", "ds", "closed"])
    columns = (book.column(name).to_pylist() for name in ("stage", "ds", "closed"))
    closed = {ds for stage, ds, shut in zip(*columns, strict=True) if stage == "labels" and shut}
    wanted = [(from_day + timedelta(days=i)).isoformat() for i in range((to_day - from_day).days + 1)]
    return [ds for ds in wanted if ds in closed]


def split_days(days: Sequence[str], validation_days: int | None = None, test_days: int | None = None) -> Split:
    """Split rising days into three spans; by default the last fifth is for the test, the seventh before validates.

    Raises ``DatasetError`` if no day is left to train on.
    """
    test = test_days if test_days is not None else max(1, round(len(days) / 5))
    validation = validation_days if validation_days is not None else max(1, round(len(days) / 7))
    train = len(days) - validation - test
    if min(train, validation, test) < 1:
        raise DatasetError(
            f"{len(days)} closed days cannot be split into {validation} validation and {test} test days and at least "
            "one to train on: widen the window, or wait until the labels of more days have closed"
        )
    return Split(tuple(days[:train]), tuple(days[train : train + validation]), tuple(days[train + validation :]))


def read_rows(tables: Tables, versions: Mapping[str, int], features: FeatureSet, days: Sequence[str]) -> Rows:
    """Join features and labels of the days at the pinned versions.

    Raises ``DatasetError`` if a row was computed by another feature definition than the running code's.
    """
    names = [feature.name for feature in features.features]
    wanted = [("ds", "in", list(days))]
    left = tables.open("features", versions["features"]).to_pyarrow_table(
        columns=["subject_id", "ds", "features_hash", *names], filters=wanted
    )
    _check_definition(left, features)
    right = tables.open("labels", versions["labels"]).to_pyarrow_table(
        columns=["subject_id", "ds", "label"], filters=wanted
    )
    joined = left.join(right, keys=["subject_id", "ds"], join_type="inner")
    joined = joined.sort_by([("ds", "ascending"), ("subject_id", "ascending")])
    return _to_rows(joined, features)


def load_dataset(tables: Tables, versions: Mapping[str, int], features: FeatureSet, split: Split) -> Dataset:
    """Read the three spans; raises ``DatasetError`` if one has too few rows or one class only."""
    rows = read_rows(tables, versions, features, (*split.train, *split.validation, *split.test))
    spans = {"train": rows.on(split.train), "validation": rows.on(split.validation), "test": rows.on(split.test)}
    for name, span in spans.items():
        check_rows(name, span)
    return Dataset(spans["train"], spans["validation"], spans["test"], split, dict(versions))


def check_rows(name: str, rows: Rows, minimum: int = MINIMUM_ROWS) -> None:
    """Raise ``DatasetError`` if a span is too small or has labels of one class only."""
    if len(rows) < minimum:
        raise DatasetError(f"the {name} days have {len(rows)} labelled rows, fewer than {minimum}: widen the window")
    if len(np.unique(rows.labels)) < 2:
        raise DatasetError(f"the {name} days have labels of one class only ({rows.labels[0]:.0f}): widen the window")


def _check_definition(table: pa.Table, features: FeatureSet) -> None:
    running = features.hash()
    found = set(table.column("features_hash").unique().to_pylist()) - {running}
    if found:
        others = sorted(str(value)[:12] for value in found)
        raise DatasetError(
            f"features of another definition {others} than the running code's {running[:12]}: "
            "run preprocess_features again for the window's days"
        )


def _to_rows(table: pa.Table, features: FeatureSet) -> Rows:
    def column(name: str) -> NDArray[Any]:
        values: NDArray[Any] = table.column(name).to_numpy()
        return values

    columns: dict[str, NDArray[Any]] = {name: column(name).astype(np.float64) for name in features.numeric}
    columns |= {name: np.array(table.column(name).to_pylist(), dtype=object) for name in features.categorical}
    return Rows(column("subject_id"), column("ds"), columns, column("label").astype(np.float32))
