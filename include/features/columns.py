"""Arrow to NumPy, references and keys: what stands between stored rows and the feature function, for both layers.

Spark's workers and the predictor call the same functions, so that a value reaches the features in one form.
It does not know Spark, S3 or any domain.
"""

import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from include.contracts.contract import FieldType
from include.features.spec import FeatureSet, Reference
from include.tiles.kernel import Floats

#: How each type of field lies in Arrow. Timestamps are UTC.
ARROW_TYPES: dict[FieldType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def numpy_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Each column as the feature function takes it.

    Timestamps become datetime64[s] (null: NaT), numbers float64 (null: NaN), texts object (null: None).
    """
    return {name: numpy_column(table.column(name)) for name in table.column_names}


def numpy_column(column: pa.ChunkedArray) -> NDArray[Any]:
    """One column as the feature function takes it; see ``numpy_columns``."""
    if pa.types.is_timestamp(column.type):
        times: NDArray[np.datetime64] = column.to_numpy().astype("datetime64[s]")
        return times
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    return np.asarray(column.to_numpy(), dtype=object)


def key_texts(table: pa.Table, fields: tuple[str, ...]) -> list[str | None]:
    """The rows' keys: the fields' texts joined with ``|``, None where any is null."""
    texts = [table.column(name).cast(pa.string()) for name in fields]
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "|")
    keys: list[str | None] = joined.to_pylist()
    return keys


def read_reference(reference: Reference, content: bytes) -> pa.Table:
    """The table of a gzipped file, as ``parse_reference`` reads it; raises ``ValueError`` as that does."""
    try:
        plain = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise ValueError(f"reference {reference.name!r}: {error}") from error
    return parse_reference(reference, plain)


def parse_reference(reference: Reference, plain: bytes) -> pa.Table:
    """The declared columns of a CSV with a header, as texts; an empty value is null, and no other is.

    Raises ``ValueError`` naming the reference and what is wrong with the file.
    """
    names = [reference.key_column, *reference.columns]
    # By themselves PyArrow's readers take NA, null and their like for nulls: a code may well be called that.
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=names,
        null_values=[""],
        strings_can_be_null=True,
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        return pa.csv.read_csv(pa.BufferReader(plain), parse_options=parse, convert_options=convert)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ValueError(f"reference {reference.name!r}: {error}") from error


@dataclass(frozen=True)
class ReferenceTable:
    """A reference in memory: key -> row, and one array per column whose last element means "no such key"."""

    reference: Reference
    rows: Mapping[str, int]
    columns: Mapping[str, NDArray[Any]]

    @classmethod
    def from_arrow(cls, reference: Reference, table: pa.Table) -> "ReferenceTable":
        """Read a table whose columns may be texts; a repeated key, or a text where a number belongs, is an error."""
        keys = table.column(reference.key_column).cast(pa.string()).to_pylist()
        rows = {key: number for number, key in enumerate(keys)}
        if len(rows) != len(keys):
            raise ValueError(f"reference {reference.name!r} repeats keys in {reference.key_column!r}")
        columns = {
            name: _with_missing(f"reference {reference.name!r}, column {name!r}", table.column(name), kind)
            for name, kind in reference.columns.items()
        }
        return cls(reference, rows, columns)

    @classmethod
    def from_csv(cls, reference: Reference, content: bytes) -> "ReferenceTable":
        """Read a file as ``read_reference`` does."""
        return cls.from_arrow(reference, read_reference(reference, content))

    def lookup(self, keys: Iterable[str | None], count: int) -> dict[str, NDArray[Any]]:
        """The columns ``{name}_{column}`` for ``count`` keys."""
        found = map(self.rows.get, keys, repeat(-1))  # type: ignore[arg-type]  # -1: the missing value
        at = np.fromiter(found, dtype=np.int64, count=count)
        return {f"{self.reference.name}_{name}": values[at] for name, values in self.columns.items()}


def _with_missing(place: str, column: pa.ChunkedArray, kind: str) -> NDArray[Any]:
    """The column as NumPy with one more element, the missing value; ``place`` names it in errors."""
    if kind == "numeric":
        try:
            return np.append(numpy_column(column.cast(pa.float64())), np.nan)
        except pa.ArrowInvalid as invalid:
            raise ValueError(f"{place}: {invalid}. A number that is not known is an empty value") from invalid
    return np.append(numpy_column(column.cast(pa.string())), np.array([None], dtype=object))


References = Mapping[str, ReferenceTable]


def compute_features(
    subjects: Mapping[str, NDArray[Any]],
    windows: Mapping[str, Floats],
    references: References,
    features: FeatureSet,
    joined: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """The features of subjects (``numpy_columns`` of contract fields and ``prediction_time``) and their windows.

    ``joined`` are the reference columns where somebody has joined them already; else they are looked up.
    """
    columns = {**subjects, **windows}
    if joined is not None:
        return features.compute({**columns, **joined})
    count = len(next(iter(subjects.values())))
    for reference in features.references:
        columns |= references[reference.name].lookup(columns[reference.key], count)
    return features.compute(columns)
