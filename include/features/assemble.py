"""Features in batch: subjects meet their tiles in Spark, and the kernel and the feature function run in its workers.

Two shuffles, both into buckets, so that a worker holds one bucket of one kind of tile at a time however long the
span of days is: first queries and tiles meet by kind and hash of key, then the answers meet their subjects. There are
as many partitions as buckets: two sorted sides of one that is too large take each other's memory, and the task dies.
Workers must be able to import ``include``. It knows no domain.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.group_ops import PandasCogroupedOps

from include.features.columns import ReferenceTable, compute_features, numpy_column, numpy_columns
from include.features.spec import FeatureSet
from include.tables import FEATURE_TYPES
from include.tiles.build import key_text
from include.tiles.kernel import Floats, TileIndex, WindowPlan, empty_values, minutes_of
from include.tiles.kernel import window_columns as kernel_columns
from include.tiles.spec import Tile, Window
from include.use_case import UseCase

DEFAULT_BUCKETS = 4
SUBJECTS_A_BUCKET = 25_000
ANSWER_SCHEMA = "subject_id string, lookup int, answers array<double>"
#: What a worker makes of one bucket of subjects and their window columns.
Finish = Callable[[pa.Table, Mapping[str, Floats]], pa.Table]


@dataclass(frozen=True)
class Lookup:
    """All windows over one kind of tile by the same key: they share one query."""

    tile: Tile
    key: tuple[str, ...]
    windows: tuple[Window, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of all its windows, in order."""
        return tuple(column for window in self.windows for column in window.columns)

    @cached_property
    def plan(self) -> WindowPlan:
        """Its windows as the kernel takes them."""
        return WindowPlan.of(self.windows)

    @cached_property
    def empty(self) -> list[float]:
        """The answer to a query without a key or without any tile."""
        return [value for window in self.windows for value in empty_values(window)]


def lookups_of(windows: Sequence[Window]) -> tuple[Lookup, ...]:
    """The windows grouped by tile and key, in a fixed order."""

    def group(window: Window) -> tuple[str, tuple[str, ...]]:
        return (window.tile.name, window.key)

    grouped = ((key, tuple(members)) for key, members in groupby(sorted(windows, key=group), key=group))
    return tuple(Lookup(members[0].tile, key[1], members) for key, members in grouped)


def buckets_of(subjects: int) -> int:
    """How many buckets hold so many subjects: a worker has no more of them, however many there are."""
    return max(DEFAULT_BUCKETS, math.ceil(subjects / SUBJECTS_A_BUCKET))


def with_prediction_time(subjects: DataFrame, use_case: UseCase) -> DataFrame:
    """Add the default ``prediction_time`` to subject facts: ``prediction_lead_minutes`` before the subject's time."""
    lead = F.expr(f"INTERVAL {use_case.prediction_lead_minutes} MINUTE")
    return subjects.withColumn("prediction_time", F.col(use_case.subject_time) - lead)


def feature_rows(
    subjects: DataFrame,
    tiles: DataFrame,
    references: Mapping[str, pa.Table],
    use_case: UseCase,
    buckets: int = DEFAULT_BUCKETS,
    as_of: str | None = None,
) -> DataFrame:
    """One row per subject: ``subject_id, prediction_time``, the features (NaN as null), ``features_hash`` and ``ds``.

    ``as_of`` names a column of the subjects, a map from source to a time (UTC): windows over that source then end
    there, where it lies before the prediction time (null: the source was not seen at all).

    ``subjects`` are typed facts with ``prediction_time``; ``tiles`` must reach back as far as the windows do.
    ``references`` (tables of texts, empty as null, by name) travel to the workers.
    A subject id that occurs twice is an error.
    """
    features = use_case.features
    fields = [name for name in use_case.subject.field_names if name != "prediction_time"]
    queried = subjects.select(*fields, "prediction_time", *([as_of] if as_of else []))
    key = use_case.subject.key
    held = {item.name: ReferenceTable.from_arrow(item, references[item.name]) for item in features.references}

    def finish(table: pa.Table, windows: Mapping[str, Floats]) -> pa.Table:
        return feature_table(table, compute_features(numpy_columns(table), windows, held, features), key, features)

    columns = ", ".join(f"`{feature.name}` {FEATURE_TYPES[feature.kind]}" for feature in features.features)
    rows = _assemble(
        queried,
        tiles,
        features.windows,
        key,
        finish,
        f"subject_id string, prediction_time timestamp, {columns}",
        buckets,
        as_of,
    )
    ds = F.date_format("prediction_time", "yyyy-MM-dd")
    return rows.withColumns({"features_hash": F.lit(features.hash()), "ds": ds})


def feature_table(subjects: pa.Table, computed: Mapping[str, np.ndarray], key: str, features: FeatureSet) -> pa.Table:
    """The features as Arrow columns, NaN as null, beside the subject's id and prediction time."""
    kinds = {"numeric": pa.float64(), "categorical": pa.string()}
    columns = {"subject_id": subjects.column(key), "prediction_time": subjects.column("prediction_time")}
    for feature in features.features:
        try:
            columns[feature.name] = pa.array(computed[feature.name], kinds[feature.kind], from_pandas=True)
        except pa.ArrowException as error:
            wanted = "texts or None" if feature.kind == "categorical" else "numbers"
            raise ValueError(f"{feature.kind} feature {feature.name!r} must be {wanted}: {error}") from error
    return pa.table(columns)


def window_columns(
    subjects: DataFrame, tiles: DataFrame, windows: Sequence[Window], key: str, buckets: int = DEFAULT_BUCKETS
) -> DataFrame:
    """One row per subject: ``subject_id``, ``prediction_time`` and every window's columns as nullable bigints.

    ``subjects`` needs the windows' key fields, ``key`` (its id) and ``prediction_time``.
    """
    names = [column for lookup in lookups_of(windows) for column in lookup.columns]

    def finish(table: pa.Table, columns: Mapping[str, Floats]) -> pa.Table:
        integers = {name: pa.array(columns[name], from_pandas=True).cast(pa.int64()) for name in names}
        return pa.table(
            {"subject_id": table.column(key), "prediction_time": table.column("prediction_time"), **integers}
        )

    fields = dict.fromkeys([key, *(name for window in windows for name in window.key), "prediction_time"])
    schema = ", ".join(["subject_id string", "prediction_time timestamp", *(f"`{name}` bigint" for name in names)])
    return _assemble(subjects.select(*fields), tiles, windows, key, finish, schema, buckets)


def _assemble(
    subjects: DataFrame,
    tiles: DataFrame,
    windows: Sequence[Window],
    key: str,
    finish: Finish,
    schema: str,
    buckets: int,
    as_of: str | None = None,
) -> DataFrame:
    """Answer the subjects' queries, then let ``finish`` make rows of each bucket of subjects and their columns."""
    lookups = lookups_of(windows)
    answers = _answers(subjects, tiles, lookups, key, buckets, as_of)

    def combine(left: pa.Table, right: pa.Table) -> pa.Table:
        table = left.drop_columns(["bucket"])
        return finish(table, pivot(table.column(key), right, lookups))

    bucketed = (subjects.drop(as_of) if as_of else subjects).withColumn("bucket", _bucket(key, buckets))
    by_subject = answers.withColumn("bucket", _bucket("subject_id", buckets))
    return _met(bucketed, by_subject, "bucket", buckets).applyInArrow(combine, schema)


def _met(left: DataFrame, right: DataFrame, group: str, buckets: int) -> PandasCogroupedOps:
    """The rows of both sides that are of one ``group`` together, in as many partitions as there are buckets."""
    by_left, by_right = (side.repartition(buckets, group).groupBy(group) for side in (left, right))
    return by_left.cogroup(by_right)


def _bucket(column: str, buckets: int) -> Column:
    return F.pmod(F.xxhash64(column), F.lit(buckets)).cast("int")


def _asked(number: int, kind: int, lookup: Lookup, as_of: str | None) -> Column:
    """What one lookup asks for: its number, that of its kind of tile, key, and the minute where what was seen ends."""
    seen = F.element_at(as_of, lookup.tile.source) if as_of else F.col("prediction_time")
    return F.struct(
        F.lit(number).alias("lookup"),
        F.lit(kind).alias("kind"),
        key_text(lookup.key).alias("key"),
        F.coalesce(seen, F.timestamp_seconds(F.lit(0))).alias("until"),
    )


def _answers(
    subjects: DataFrame, tiles: DataFrame, lookups: Sequence[Lookup], key: str, buckets: int, as_of: str | None
) -> DataFrame:
    """One row per subject and lookup that has a key: the columns of the lookup's windows, null as NaN."""
    names = sorted({lookup.tile.name for lookup in lookups})
    asked = F.array(*(_asked(n, names.index(lookup.tile.name), lookup, as_of) for n, lookup in enumerate(lookups)))
    # One integer says kind and bucket: groups are sorted by it without comparing rows.
    group = (F.col("kind") * buckets + _bucket("key", buckets)).cast("int")
    queries = subjects.select(F.col(key).alias("subject_id"), "prediction_time", F.explode(asked).alias("asked"))
    queries = queries.select("subject_id", "prediction_time", "asked.*").where(F.col("key").isNotNull())
    queries = queries.withColumn("group", group).drop("kind")
    kept = tiles.where(F.col("tile").isin(names)).select("tile", "key", "minute", "values")
    kind = F.array_position(F.array(*map(F.lit, names)), F.col("tile")) - 1
    kept = kept.withColumn("kind", kind).withColumn("group", group).drop("kind")

    def answer(left: pa.Table, right: pa.Table) -> pa.Table:
        return answer_queries(left, right, lookups)

    return _met(queries, kept, "group", buckets).applyInArrow(answer, ANSWER_SCHEMA)


def answer_queries(queries: pa.Table, tiles: pa.Table, lookups: Sequence[Lookup]) -> pa.Table:
    """Answer the queries of one kind of tile and bucket (columns of ``ANSWER_SCHEMA``)."""
    tables = [ANSWER_TYPE.empty_table()]
    numbers = pc.unique(queries.column("lookup")).to_pylist()
    index = TileIndex.from_arrow((lookups[numbers[0]].tile,), tiles) if numbers else None
    for number in numbers:
        assert index is not None
        asked = queries.filter(pc.equal(queries.column("lookup"), number))
        tables.append(_answer_table(asked, number, _matrix(index, lookups[number], asked)))
    return pa.concat_tables(tables)


ANSWER_TYPE = pa.schema([("subject_id", pa.string()), ("lookup", pa.int32()), ("answers", pa.list_(pa.float64()))])


def _matrix(index: TileIndex, lookup: Lookup, asked: pa.Table) -> Floats:
    """The answers to the queries, shape ``(queries, columns of the lookup)``."""
    keys = {lookup.key: asked.column("key").to_pylist()}
    minutes, until = (minutes_of(numpy_column(asked.column(name))) for name in ("prediction_time", "until"))
    columns = kernel_columns((index,), lookup.plan, keys, minutes, {lookup.tile.source: until})
    return np.column_stack([columns[name] for name in lookup.columns])


def _answer_table(asked: pa.Table, number: int, matrix: Floats) -> pa.Table:
    rows, width = matrix.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    answers = pa.ListArray.from_arrays(offsets, matrix.ravel())
    lookup = np.full(rows, number, dtype=np.int32)
    return pa.table([asked.column("subject_id"), lookup, answers], schema=ANSWER_TYPE)


def pivot(subject_ids: pa.ChunkedArray, answers: pa.Table, lookups: Sequence[Lookup]) -> dict[str, Floats]:
    """The answers (one row per subject and lookup) as one column per window column, in the order of ``subject_ids``."""
    if len(pc.unique(subject_ids)) != len(subject_ids):
        raise ValueError("a subject id occurs twice among the subjects")
    columns: dict[str, Floats] = {}
    for number, lookup in enumerate(lookups):
        chosen = answers.filter(pc.equal(answers.column("lookup"), number))
        matrix = np.tile(np.array(lookup.empty), (len(subject_ids), 1))
        at = pc.index_in(chosen.column("subject_id"), value_set=subject_ids.combine_chunks()).to_numpy()
        matrix[at] = pc.list_flatten(chosen.column("answers")).to_numpy().reshape(-1, len(lookup.columns))
        columns.update(zip(lookup.columns, matrix.T, strict=True))
    return columns
