"""Features and labels of closed days from the Delta tables, at pinned versions, in three spans of time.

Train, validation and test follow each other in time and never mix: the search sees train and validation, the gate
the test days. It knows the tables' columns, not who wrote them, nor what is trained on them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from deltalake import DeltaTable
from numpy.typing import NDArray

from include.features.spec import FeatureSet
from include.lake import few_at_a_time
from include.locations import LAKE_BUCKET
from include.settings import S3Settings
from include.target import Target
from include.training.scratch import Allocate, Scratch

PINNED_TABLES = ("features", "labels", "book")
MINIMUM_ROWS = 100
#: Rows that are read from the tables, or handed on as plain arrays, at once.
ROWS_AT_ONCE = 1 << 16
MISSING_CODE = -1
#: Without a word on it, no span that is kept from training is longer: four whole weeks tell a candidate from the
#: champion, and what a history grows by should be learned from. A fifth of two years is five months, the newest ones.
MOST_TEST_DAYS = MOST_VALIDATION_DAYS = 28


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
class Categories:
    """Texts of few values as codes: row i has ``values[codes[i]]``, or none where the code is ``MISSING_CODE``."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def __getitem__(self, index: slice | NDArray[Any]) -> "Categories":
        return Categories(self.codes[index], self.values)

    def texts(self) -> NDArray[Any]:
        """The texts, objects ``[n]``, ``None`` for missing."""
        # The last one is what code -1 picks.
        lookup = np.array([*self.values, None], dtype=object)
        found: NDArray[Any] = lookup[self.codes]
        return found


Column = NDArray[Any] | Categories


class PlainColumns(Mapping[str, NDArray[Any]]):
    """Columns as arrays, float64 or texts as objects; texts are made anew each time that they are asked for."""

    def __init__(self, stored: Mapping[str, Column]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._stored[name]
        return column.texts() if isinstance(column, Categories) else column

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


@dataclass(frozen=True)
class Rows:
    """Labelled subjects, ordered by day (datetime64[D]) and subject; ``stored`` columns have length n."""

    days: NDArray[np.datetime64]
    stored: Mapping[str, Column]
    labels: NDArray[np.float32]
    target: Target

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """The columns as arrays ``[n]``."""
        return PlainColumns(self.stored)

    def __len__(self) -> int:
        return len(self.labels)

    def between(self, first: str, last: str) -> "Rows":
        """The rows of the days from ``first`` to ``last``, which share memory with these."""
        low, high = (np.datetime64(day, "D") for day in (first, last))
        span = slice(np.searchsorted(self.days, low), np.searchsorted(self.days, high, side="right"))
        stored = {name: column[span] for name, column in self.stored.items()}
        return Rows(self.days[span], stored, self.labels[span], self.target)

    def at(self, index: slice | NDArray[Any]) -> "Rows":
        """Some of the rows, stored as plain arrays."""
        stored = {name: column[index] for name, column in self.stored.items()}
        return Rows(self.days[index], dict(PlainColumns(stored)), self.labels[index], self.target)

    def chunks(self, size: int = ROWS_AT_ONCE) -> Iterator["Rows"]:
        """All rows in order, so many at a time, stored as plain arrays; at least one chunk."""
        for start in range(0, max(len(self), 1), size):
            yield self.at(slice(start, start + size))


@dataclass(frozen=True)
class Dataset:
    """The three spans, and what they were read from."""

    train: Rows
    validation: Rows
    test: Rows
    split: Split
    versions: Mapping[str, int]

    def once_encoded(self) -> "Dataset":
        """The same without the training rows' columns, most of a run's memory, which nothing else needs."""
        return replace(self, train=replace(self.train, stored={}))


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
    """Split rising days into three spans; by default the last fifth is for the test, the seventh before validates,
    ``MOST_TEST_DAYS`` and ``MOST_VALIDATION_DAYS`` at most.

    Raises ``DatasetError`` if no day is left to train on.
    """
    test = test_days if test_days is not None else _share(len(days), 5, MOST_TEST_DAYS)
    validation = validation_days if validation_days is not None else _share(len(days), 7, MOST_VALIDATION_DAYS)
    train = len(days) - validation - test
    if min(train, validation, test) < 1:
        raise DatasetError(
            f"{len(days)} closed days cannot be split into {validation} validation and {test} test days and at least "
            "one to train on: widen the window, or wait until the labels of more days have closed"
        )
    return Split(tuple(days[:train]), tuple(days[train : train + validation]), tuple(days[train + validation :]))


def _share(days: int, part: int, most: int) -> int:
    """One day in ``part``, at least one and not more than ``most``."""
    return min(max(1, round(days / part)), most)


def read_rows(
    tables: Tables,
    versions: Mapping[str, int],
    features: FeatureSet,
    target: Target,
    days: Sequence[str],
    scratch: Scratch,
    at_once: int = ROWS_AT_ONCE,
) -> Rows:
    """Join features and labels of the days at the pinned versions, some days at a time.

    In memory is what the rows of those days take, about ``at_once`` of them, besides the result, which lies in memory
    or in files as ``scratch`` has it.
    Raises ``DatasetError`` if a row was computed by another feature definition than the running code's.
    """
    (rows,) = _read_spans(tables, versions, features, target, [days], scratch, at_once)
    return rows


def load_dataset(
    tables: Tables, versions: Mapping[str, int], features: FeatureSet, target: Target, split: Split, scratch: Scratch
) -> Dataset:
    """Read the three spans; raises ``DatasetError`` if one has too few rows, or labels that are all alike."""
    days = (split.train, split.validation, split.test)
    train, validation, test = _read_spans(tables, versions, features, target, days, scratch)
    for name, span in (("train", train), ("validation", validation), ("test", test)):
        check_rows(name, span)
    return Dataset(train, validation, test, split, dict(versions))


def check_rows(name: str, rows: Rows, minimum: int = MINIMUM_ROWS) -> None:
    """Raise ``DatasetError`` if a span is too small or its labels are all alike."""
    if len(rows) < minimum:
        raise DatasetError(f"the {name} days have {len(rows)} labelled rows, fewer than {minimum}: widen the window")
    if len(np.unique(rows.labels)) < 2:
        raise DatasetError(f"the labels of the {name} days are all alike ({rows.labels[0]:g}): widen the window")


def _read_spans(
    tables: Tables,
    versions: Mapping[str, int],
    features: FeatureSet,
    target: Target,
    spans: Sequence[Sequence[str]],
    scratch: Scratch,
    at_once: int = ROWS_AT_ONCE,
) -> list[Rows]:
    """The rows of each span's days, in arrays of its own, so that each can be let go of alone."""
    # Once: a data set of a thousand files takes a second to make, with each column's least and greatest value of each.
    subjects, labels = (tables.open(table, versions[table]).to_pyarrow_dataset() for table in ("features", "labels"))
    counts = _labels_by_day(labels, [day for days in spans for day in days])
    row = 8 * len(features.numeric) + 4 * len(features.categorical) + 8 + 4
    allocate = scratch.allocator(sum(counts.values()) * row)
    found = []
    for days in spans:
        room = _Columns(features, target, sum(counts[day] for day in days), allocate)
        for some in few_at_a_time(days, counts, at_once):
            room.append(joined(subjects, labels, features, some))
        found.append(room.rows())
    return found


def _check_definition(table: pa.Table, features: FeatureSet) -> None:
    running = features.hash()
    found = set(table.column("features_hash").unique().to_pylist()) - {running}
    if found:
        others = sorted(str(value)[:12] for value in found)
        raise DatasetError(
            f"features of another definition {others} than the running code's {running[:12]}: "
            "run preprocess_features again for the window's days"
        )


def _labels_by_day(labels: pyarrow.dataset.Dataset, days: Sequence[str]) -> Counter[str]:
    """How many labels each day has; no more rows than that can come of the join."""
    found: Counter[str] = Counter()
    for batch in labels.to_batches(columns=["ds"], filter=_of_days(days)):
        for entry in batch.column("ds").value_counts().to_pylist():
            found[entry["values"]] += entry["counts"]
    return found


def _of_days(days: Sequence[str]) -> pc.Expression:
    return pc.field("ds").isin(list(days))


def joined(
    subjects: pyarrow.dataset.Dataset, labels: pyarrow.dataset.Dataset, features: FeatureSet, days: Sequence[str]
) -> pa.Table:
    """Features and label of the days' subjects, ordered by day and subject."""
    names = [feature.name for feature in features.features]
    left = subjects.to_table(columns=["subject_id", "ds", "features_hash", *names], filter=_of_days(days))
    _check_definition(left, features)
    right = labels.to_table(columns=["subject_id", "ds", "label"], filter=_of_days(days))
    both = left.join(right, keys=["subject_id", "ds"], join_type="inner")
    return both.sort_by([("ds", "ascending"), ("subject_id", "ascending")])


def rows_of(table: pa.Table, features: FeatureSet, target: Target) -> Rows:
    """The rows of a joined table, in memory."""
    room = _Columns(features, target, len(table), np.empty)
    room.append(table)
    return room.rows()


class _Columns:
    """The columns of ``Rows`` while they are filled."""

    def __init__(self, features: FeatureSet, target: Target, size: int, allocate: Allocate) -> None:
        self.target = target
        self.numeric = {name: allocate((size,), np.float64) for name in features.numeric}
        self.codes = {name: allocate((size,), np.int32) for name in features.categorical}
        self.vocabularies: dict[str, dict[str, int]] = {name: {} for name in features.categorical}
        self.days = allocate((size,), "datetime64[D]")
        self.labels = allocate((size,), np.float32)
        self.filled = 0

    def append(self, table: pa.Table) -> None:
        span = slice(self.filled, self.filled + len(table))
        for name, values in self.numeric.items():
            values[span] = table.column(name).to_numpy()
        for name, codes in self.codes.items():
            codes[span] = _codes(table.column(name), self.vocabularies[name])
        self.days[span] = table.column("ds").to_numpy().astype("datetime64[D]")
        self.labels[span] = table.column("label").to_numpy()
        self.filled += len(table)

    def rows(self) -> Rows:
        """What was appended."""
        stored: dict[str, Column] = {name: values[: self.filled] for name, values in self.numeric.items()}
        for name, codes in self.codes.items():
            stored[name] = Categories(codes[: self.filled], tuple(self.vocabularies[name]))
        return Rows(self.days[: self.filled], stored, self.labels[: self.filled], self.target)


def _codes(column: pa.ChunkedArray, vocabulary: dict[str, int]) -> NDArray[np.int32]:
    """The column's codes; values that the vocabulary lacks are added to it."""
    encoded = column.combine_chunks().dictionary_encode()
    lookup = [vocabulary.setdefault(value, len(vocabulary)) for value in encoded.dictionary.to_pylist()]
    # The last one is what a missing value's index, -1, picks.
    codes = np.array([*lookup, MISSING_CODE], dtype=np.int32)
    found: NDArray[np.int32] = codes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return found
