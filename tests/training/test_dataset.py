"""Only closed days, at pinned versions, in three spans of time; clear errors for what cannot be trained on."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable, write_deltalake

from include.target import BINARY
from include.training.dataset import DatasetError, closed_days, load_dataset, pin_versions, read_rows, split_days
from include.training.scratch import Scratch
from tests.training.synthetic import FEATURES, IN_MEMORY, days, rows, write_tables

WINDOW = (date(2020, 1, 1), date(2020, 1, 8))


def test_features_and_labels_come_back_joined_and_split_by_time(tmp_path: Path) -> None:
    data = rows(day_count=8, per_day=150)
    tables = write_tables(tmp_path, data, closed=days(7))
    versions = pin_versions(tables)
    closed = closed_days(tables, versions, *WINDOW)
    assert closed == days(7)
    dataset = load_dataset(
        tables, versions, FEATURES, BINARY, split_days(closed, validation_days=2, test_days=2), IN_MEMORY
    )
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [450, 300, 300]
    expected = data.between(days(7)[5], days(7)[6])
    np.testing.assert_array_equal(dataset.test.days, expected.days)
    np.testing.assert_array_equal(dataset.test.labels, expected.labels)
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(dataset.test.columns[name], values)


def test_training_rows_can_be_let_go_of_once_encoded(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, rows(day_count=3, per_day=120), closed=days(3))
    dataset = load_dataset(tables, pin_versions(tables), FEATURES, BINARY, split_days(days(3)), IN_MEMORY)
    columns = [span.columns["x"] for span in (dataset.train, dataset.validation, dataset.test)]
    bases = {id(column if column.base is None else column.base) for column in columns}
    assert len(bases) == 3, "what remains would keep all in memory"
    after = dataset.once_encoded()
    assert (len(after.train), dict(after.train.columns)) == (120, {})
    np.testing.assert_array_equal(after.train.labels, dataset.train.labels)
    assert after.test is dataset.test


def test_a_pinned_version_does_not_see_later_changes(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, rows(day_count=3, per_day=120), closed=days(3))
    versions = pin_versions(tables)
    labels = DeltaTable(str(tmp_path / "labels")).to_pyarrow_table()
    write_deltalake(str(tmp_path / "labels"), labels.slice(0, 10), mode="overwrite")
    assert len(read_rows(tables, versions, FEATURES, BINARY, days(3), IN_MEMORY)) == 360


def test_features_of_another_definition_are_refused(tmp_path: Path) -> None:
    tables = write_tables(tmp_path, rows(day_count=3, per_day=120), closed=days(3))
    other = replace(FEATURES, features=FEATURES.features[:-1])
    with pytest.raises(DatasetError, match="another definition"):
        read_rows(tables, pin_versions(tables), other, BINARY, days(3), IN_MEMORY)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_days_are_refused(count: int) -> None:
    with pytest.raises(DatasetError, match="widen the window"):
        split_days(days(count))


def test_default_split_of_four_weeks() -> None:
    split = split_days(days(28))
    assert [len(span) for span in (split.train, split.validation, split.test)] == [18, 4, 6]
    assert (*split.train, *split.validation, *split.test) == tuple(days(28))


@pytest.mark.parametrize(
    ("count", "validation", "test"), [(60, 9, 12), (140, 20, 28), (196, 28, 28), (365, 28, 28), (730, 28, 28)]
)
def test_a_history_that_grows_goes_into_training(count: int, validation: int, test: int) -> None:
    split = split_days(days(count))
    assert [len(span) for span in (split.validation, split.test)] == [validation, test]
    assert (*split.train, *split.validation, *split.test) == tuple(days(count))


def test_a_split_that_was_asked_for_is_not_capped() -> None:
    split = split_days(days(365), validation_days=61, test_days=92)
    assert [len(span) for span in (split.train, split.validation, split.test)] == [212, 61, 92]


def test_too_few_rows_and_one_class_are_refused(tmp_path: Path) -> None:
    few = rows(day_count=3, per_day=20)
    tables = write_tables(tmp_path / "few", few, closed=days(3))
    with pytest.raises(DatasetError, match="20 labelled rows"):
        load_dataset(tables, pin_versions(tables), FEATURES, BINARY, split_days(days(3)), IN_MEMORY)
    constant = replace(rows(day_count=3, per_day=120), labels=np.zeros(360, dtype=np.float32))
    tables = write_tables(tmp_path / "constant", constant, closed=days(3))
    with pytest.raises(DatasetError, match="all alike"):
        load_dataset(tables, pin_versions(tables), FEATURES, BINARY, split_days(days(3)), IN_MEMORY)


@pytest.mark.parametrize("at_once", [1, 250, 10_000])
def test_rows_that_do_not_fit_memory_are_the_same_from_files(tmp_path: Path, at_once: int) -> None:
    tables = write_tables(tmp_path, rows(day_count=4, per_day=120), closed=days(4))
    versions = pin_versions(tables)
    expected = read_rows(tables, versions, FEATURES, BINARY, days(4), IN_MEMORY)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = read_rows(tables, versions, FEATURES, BINARY, days(4), Scratch(scratch, 0), at_once)
    files = list(scratch.iterdir())
    assert len(files) == len(FEATURES.features) + 2
    assert isinstance(found.stored["x"], np.memmap)
    np.testing.assert_array_equal(found.days, expected.days)
    np.testing.assert_array_equal(found.labels, expected.labels)
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)
    chunks = list(found.chunks(100))
    assert [len(chunk) for chunk in chunks] == [100, 100, 100, 100, 80]
    np.testing.assert_array_equal(
        np.concatenate([chunk.columns["colour"] for chunk in chunks]), found.columns["colour"]
    )
