"""Features of a batch in Spark equal those of one query at a time in this process, on real flights."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from include.contracts.columns import judged
from include.features.assemble import (
    feature_rows,
    feature_table,
    lookups_of,
    pivot,
    window_columns,
    with_prediction_time,
)
from include.features.columns import (
    ReferenceTable,
    compute_features,
    key_texts,
    numpy_column,
    numpy_columns,
    read_reference,
)
from include.features.spec import Feature, FeatureSet, Reference
from include.tiles.build import build_tiles
from include.tiles.kernel import Floats, TileIndex, minutes_of
from include.tiles.kernel import window_columns as kernel_columns
from include.tiles.spec import Measure, Tile, Window
from include.use_case import load_use_case
from include.use_cases.flight_delay import feeder, upstream

USE_CASE = load_use_case("flight_delay")
FEATURES: FeatureSet = USE_CASE.features
FIRST, LAST = date(2012, 12, 31), date(2013, 1, 2)


@dataclass(frozen=True)
class World:
    """Some days of real flights: subjects, tiles and references, in Spark and in Arrow."""

    subjects: DataFrame
    tiles: DataFrame
    subject_rows: pa.Table
    tile_rows: pa.Table
    references: dict[str, pa.Table]


def reference_tables() -> dict[str, pa.Table]:
    """The reference files as tables of texts."""
    folder = upstream.data_folder()
    return {
        reference.name: pa.csv.read_csv(
            folder / f"{reference.name}.csv",
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys([reference.key_column, *reference.columns], pa.string()),
                strings_can_be_null=True,
                null_values=["", "NA"],
            ),
        )
        for reference in FEATURES.references
    }


@pytest.fixture(scope="module")
def world(spark: SparkSession) -> Iterator[World]:
    """Two days of facts, judged from text as ingest does."""
    tables = upstream.read_upstream(upstream.data_folder())
    facts = upstream.all_facts(upstream.scheduled_around(tables, FIRST, LAST))
    raw = {}
    for source, table in facts.items():
        texts = feeder.as_text(table[table["ds"] <= LAST.isoformat()]).drop(columns="ds")
        columns = {name: pa.array(texts[name], from_pandas=True).cast(pa.string()) for name in texts}
        raw[source] = judged(spark.createDataFrame(pa.table(columns)), USE_CASE.source(source))
    subjects = with_prediction_time(raw["schedule"], USE_CASE).where(
        F.col("scheduled_departure") < "2013-01-02T20:00:00Z"
    )
    tiles = build_tiles(raw, USE_CASE.sources, USE_CASE.tiles)
    tile_rows, subject_rows = tiles.toArrow(), subjects.toArrow()
    kept = spark.createDataFrame(tile_rows)
    yield World(
        spark.createDataFrame(subject_rows.select(subjects_fields())), kept, subject_rows, tile_rows, reference_tables()
    )


def subjects_fields() -> list[str]:
    """What a subject's row holds."""
    return list(USE_CASE.subject.field_names)


def windows_of(index: TileIndex, subjects: pa.Table) -> dict[str, Floats]:
    """The windows of ``subjects`` straight from the kernel."""
    keys = {window.key: key_texts(subjects, window.key) for window in FEATURES.windows}
    minutes = minutes_of(numpy_column(subjects.column("prediction_time")))
    return kernel_columns([index], FEATURES.plan, keys, minutes)


def equal(left: Any, right: Any) -> bool:
    """Equal to the bit, with all kinds of missing alike."""
    missing = [value is None or value != value for value in (left, right)]
    return bool(all(missing) if any(missing) else left == right)


def test_batch_equals_one_query_at_a_time(world: World) -> None:
    batch = {
        row["subject_id"]: row
        for row in feature_rows(world.subjects, world.tiles, world.references, USE_CASE).collect()
    }
    assert len(batch) == world.subject_rows.num_rows > 1000
    index = TileIndex.from_arrow(USE_CASE.tiles, world.tile_rows)
    references = {r.name: ReferenceTable.from_arrow(r, world.references[r.name]) for r in FEATURES.references}
    seen: dict[str, set[Any]] = {feature.name: set() for feature in FEATURES.features}
    for number in range(0, world.subject_rows.num_rows, 7):
        one = world.subject_rows.slice(number, 1)
        computed = compute_features(numpy_columns(one), windows_of(index, one), references, FEATURES)
        row = batch[one.column("id")[0].as_py()]
        for name, values in computed.items():
            assert equal(row[name], values[0]), (row["subject_id"], name, row[name], values[0])
            seen[name].add(str(values[0]))
    constant = {name for name, values in seen.items() if len(values) < 2}
    assert constant <= {"lead_minutes", "weather_age", "weather_precipitation_in", "rain_3h"}
    assert {row["features_hash"] for row in batch.values()} == {FEATURES.hash()}


def test_windows_end_where_a_source_was_last_seen(world: World) -> None:
    cut = F.create_map(
        F.lit("departures"), F.col("prediction_time") - F.expr("INTERVAL 30 MINUTE"), F.lit("weather"), F.lit(None),
        *(x for s in ("schedule", "arrivals", "cancellations") for x in (F.lit(s), F.col("prediction_time"))),
    )  # fmt: skip
    few = world.subjects.orderBy("id").limit(60).withColumn("seen", cut)
    rows = {
        r["subject_id"]: r for r in feature_rows(few, world.tiles, world.references, USE_CASE, as_of="seen").collect()
    }
    index = TileIndex.from_arrow(USE_CASE.tiles, world.tile_rows)
    references = {r.name: ReferenceTable.from_arrow(r, world.references[r.name]) for r in FEATURES.references}
    chosen = world.subject_rows.filter(pc.is_in(world.subject_rows["id"], pa.array(list(rows))))
    keys = {window.key: key_texts(chosen, window.key) for window in FEATURES.windows}
    minutes = minutes_of(numpy_column(chosen.column("prediction_time")))
    until = {c.name: minutes for c in USE_CASE.sources} | {"departures": minutes - 30, "weather": minutes * 0}
    computed = compute_features(
        numpy_columns(chosen),
        kernel_columns([index], FEATURES.plan, keys, minutes, until),
        references,
        FEATURES,
    )
    for number, subject_id in enumerate(chosen.column("id").to_pylist()):
        assert all(equal(rows[subject_id][name], values[number]) for name, values in computed.items())
    assert all(row["weather_age"] is None for row in rows.values())


def test_many_rows_equal_one_row(world: World) -> None:
    index = TileIndex.from_arrow(USE_CASE.tiles, world.tile_rows)
    references = {r.name: ReferenceTable.from_arrow(r, world.references[r.name]) for r in FEATURES.references}
    windows = windows_of(index, world.subject_rows)
    many = compute_features(numpy_columns(world.subject_rows), windows, references, FEATURES)
    for number in range(0, world.subject_rows.num_rows, 11):
        alone = {name: values[number : number + 1] for name, values in windows.items()}
        one = compute_features(numpy_columns(world.subject_rows.slice(number, 1)), alone, references, FEATURES)
        assert all(equal(many[name][number], one[name][0]) for name in many)


def test_window_columns_are_the_kernels_as_integers(world: World) -> None:
    windows = [window for window in FEATURES.windows if window.name in ("origin_departed_3h", "tailnum_arrived_24h")]
    rows = window_columns(world.subjects, world.tiles, windows, USE_CASE.subject.key, buckets=3).toArrow()
    expected = windows_of(TileIndex.from_arrow(USE_CASE.tiles, world.tile_rows), world.subject_rows)
    at = pc.index_in(world.subject_rows.column("id"), value_set=rows.column("subject_id").combine_chunks())
    for name in (column for window in windows for column in window.columns):
        assert rows.schema.field(name).type == pa.int64()
        found = numpy_column(rows.column(name).take(at))
        np.testing.assert_array_equal(found, expected[name])


def test_a_span_with_more_buckets_has_more_partitions_and_no_more_shuffles(world: World) -> None:
    rows = feature_rows(world.subjects, world.tiles, world.references, USE_CASE, buckets=9)
    plan = rows._jdf.queryExecution().executedPlan().toString()
    assert re.findall(r"Exchange hashpartitioning\((?:group|bucket)#\d+, (\d+)\)", plan) == ["9"] * 4, plan
    assert plan.count("Exchange hashpartitioning") == 4, plan


TILE = Tile("t", "s", ("key",), (Measure("count", "count"), Measure("x", "last", "x")))
WINDOW = Window("w", TILE, ("key",), 60)


def test_a_subject_without_answers_gets_empty_windows() -> None:
    answers = pa.table({"subject_id": ["b"], "lookup": [0], "answers": [[3.0, 4.0, 5.0]]})
    columns = pivot(pa.chunked_array([["a", "b"]]), answers, lookups_of([WINDOW]))
    np.testing.assert_array_equal(columns["w_count"], [0, 3])
    np.testing.assert_array_equal(columns["w_age"], [np.nan, 5])


def test_a_subject_that_occurs_twice_is_an_error() -> None:
    answers = pa.table({"subject_id": ["b"], "lookup": [0], "answers": [[3.0, 4.0, 5.0]]})
    with pytest.raises(ValueError, match="occurs twice"):
        pivot(pa.chunked_array([["b", "b"]]), answers, lookups_of([WINDOW]))


def test_a_reference_that_repeats_a_key_is_an_error() -> None:
    reference = Reference("r", "key", "key", {"x": "numeric"}, "")
    with pytest.raises(ValueError, match="repeats keys"):
        ReferenceTable.from_arrow(reference, pa.table({"key": ["a", "a"], "x": ["1", "2"]}))


CODES = Reference("codes", "code", "code", {"name": "text"}, "")


def test_a_reference_is_text_with_empty_as_null_and_nothing_else() -> None:
    content = gzip.compress(b'code,more,name\n1,x,"A, B"\n2,x,\nNA,x,null\n3,x,"two\nlines"\n')
    assert read_reference(CODES, content).to_pylist() == [
        {"code": "1", "name": "A, B"},
        {"code": "2", "name": None},
        {"code": "NA", "name": "null"},
        {"code": "3", "name": "two\nlines"},
    ]
    assert read_reference(CODES, gzip.compress(b"code,name\n")).num_rows == 0


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"code,name\n", "gzip"),
        (gzip.compress(b"code,name\n")[:-9], "end-of-stream"),
        (gzip.compress(b""), "Empty CSV"),
        (gzip.compress(b"code,title\n1,A\n"), "'name'"),
        (gzip.compress(b"code,name\n1\n"), "Expected 2 columns, got 1"),
    ],
    ids=["plain", "cut", "empty", "column", "ragged"],
)
def test_a_reference_that_cannot_be_read_is_named(content: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"reference 'codes': .*{wrong}"):
        read_reference(CODES, content)


def test_a_text_where_a_reference_has_numbers_is_named() -> None:
    reference = Reference("planes", "key", "key", {"seats": "numeric"}, "")
    with pytest.raises(ValueError, match="reference 'planes', column 'seats': .*'NA'"):
        ReferenceTable.from_arrow(reference, pa.table({"key": ["a"], "seats": ["NA"]}))


def test_a_feature_of_the_wrong_kind_is_named() -> None:
    subjects = pa.table({"id": ["a"], "prediction_time": pa.array([0], pa.timestamp("us", "UTC"))})
    hour = Feature("hour", "categorical", "")
    features = FeatureSet((hour,), (), (), lambda columns: dict(columns))
    with pytest.raises(ValueError, match="categorical feature 'hour' must be texts or None"):
        feature_table(subjects, {"hour": np.array([7.0], dtype=object)}, "id", features)


def test_a_key_that_the_reference_lacks_is_missing() -> None:
    reference = Reference("r", "key", "key", {"x": "numeric", "y": "text"}, "")
    held = ReferenceTable.from_arrow(reference, pa.table({"key": ["a", "b"], "x": ["1.5", None], "y": ["q", None]}))
    found = held.lookup(["a", "b", "c", None], 4)
    np.testing.assert_array_equal(found["r_x"], [1.5, np.nan, np.nan, np.nan])
    assert found["r_y"].tolist() == ["q", None, None, None]
