"""The dashboards as data: everything that a chart names exists, ids are stable, a bundle is the same each time."""

import json
import uuid
import zipfile
from pathlib import Path
from typing import get_args

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from dashboard import alerts, bundle
from dashboard.specs import Chart, Dataset, Store, Text, datasets_of
from dashboard.use_cases.flight_delay import DASHBOARDS, SCHEMA, SOURCES
from include.alerts import Kind
from include.spark_jobs.catalog import VIEWS
from include.spark_jobs.refresh_serving import PREDICTION_STATS, RECENT_EVENTS, RECENT_PREDICTIONS, view_name
from include.tables import all_tables
from include.use_case import load_use_case

USE_CASE = load_use_case("flight_delay")
URIS: dict[Store, str] = {
    "MySQL": "mysql+pymysql://analyst:XXXXXXXXXX@host:1/flight_delay",
    "Hive": "hive://a@host:2/x",
}
CHARTS = [chart for page in DASHBOARDS for chart in page.charts()]
DATASETS = datasets_of(DASHBOARDS)
WITH_OPEN_DAYS = {RECENT_EVENTS, RECENT_PREDICTIONS, PREDICTION_STATS, *USE_CASE.serving.statistics}
MYSQL_TABLES = {
    *("model_quality", "runtime_metrics", "data_quality", "statistics", "alerts", "refresh_log"),
    *map(view_name, WITH_OPEN_DAYS),
}
HIVE_TABLES = {table.name for table in all_tables(USE_CASE)} | {path.stem for path in VIEWS.glob("*.sql")}
DIALECTS = {"MySQL": "mysql", "Hive": "spark"}


def name_of(thing: Chart | Dataset) -> str:
    return thing.name


def files() -> dict[str, str]:
    return bundle.files(DASHBOARDS, URIS, SCHEMA)


def test_the_four_pages_are_there_under_their_addresses() -> None:
    assert [page.slug for page in DASHBOARDS] == ["operations-now", "model-history", "data-quality", "archive"]
    assert {source.name for source in USE_CASE.sources} == set(SOURCES)


def test_every_kind_of_alert_is_counted() -> None:
    assert set(alerts.KINDS) == set(get_args(Kind))


def test_statistics_are_those_of_slices_that_the_use_case_names() -> None:
    asked = {
        found.this.name: found.expression.this
        for chart in CHARTS
        if chart.dataset.name == "Shares with intervals" and chart.where
        for found in sqlglot.parse_one(chart.where, dialect="spark").find_all(exp.EQ)
    }
    assert set(asked) == {"feature"}
    assert {chart.x for chart in CHARTS if chart.dataset.name == "Shares with intervals" and chart.x} == {"value"}
    assert asked["feature"] in USE_CASE.slices


@pytest.mark.parametrize("dataset", DATASETS, ids=name_of)
def test_a_dataset_reads_tables_that_exist_and_changes_nothing(dataset: Dataset) -> None:
    (statement,) = sqlglot.parse(dataset.sql, dialect=DIALECTS[dataset.store])
    assert isinstance(statement, exp.Query)
    known = MYSQL_TABLES if dataset.store == "MySQL" else HIVE_TABLES
    assert {table.name for table in statement.find_all(exp.Table)} <= known
    assert dataset.time is None or dataset.time in dataset.column_names()


@pytest.mark.parametrize("dataset", DATASETS, ids=name_of)
def test_a_dataset_declares_the_columns_that_its_statement_returns(dataset: Dataset) -> None:
    (statement,) = sqlglot.parse(dataset.sql, dialect=DIALECTS[dataset.store])
    assert isinstance(statement, exp.Query)
    assert [column.name for column in dataset.columns] == list(statement.named_selects)


@pytest.mark.parametrize("chart", CHARTS, ids=name_of)
def test_a_chart_uses_columns_that_its_dataset_has(chart: Chart) -> None:
    dialect = DIALECTS[chart.dataset.store]
    texts = [metric.sql for metric in chart.metrics] + ([chart.where] if chart.where else [])
    in_sql = {c.name for text in texts for c in sqlglot.parse_one(text, dialect=dialect).find_all(exp.Column)}
    named = {*chart.by, *chart.columns, *([chart.x] if chart.x else [])}
    assert in_sql | named <= chart.dataset.column_names()
    assert chart.metrics or chart.columns
    assert chart.description


def test_every_id_is_used_once_and_follows_from_the_name() -> None:
    ids = [json.loads(text)["uuid"] for name, text in files().items() if name != "metadata.yaml"]
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(one).version == 5 for one in ids)
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)


def test_the_same_definitions_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        bundle.zipped(files(), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        assert f"{bundle.ROOT}/metadata.yaml" in made.namelist()


def test_no_password_is_in_a_bundle_and_no_database_may_be_changed() -> None:
    for store in URIS:
        database = json.loads(files()[bundle.file_name("databases", store)])
        assert not database["allow_dml"] and not database["allow_ctas"] and not database["allow_csv_upload"]
    assert "XXXXXXXXXX" in files()["databases/MySQL.yaml"]


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.slug)
def test_a_page_places_each_chart_once_in_rows_of_twelve_columns(page: bundle.Dashboard) -> None:
    nodes = bundle.Layout(page).nodes
    placed = [node["meta"] for node in nodes.values() if isinstance(node, dict) and node["type"] == "CHART"]
    assert sorted(meta["uuid"] for meta in placed) == sorted(bundle.id_of("chart", c.name) for c in page.charts())
    assert len({meta["chartId"] for meta in placed}) == len(placed)
    for row in (row for tab in page.tabs for row in tab.rows):
        assert sum(block.width for block in row) <= 12
    children = [child for node in nodes.values() if isinstance(node, dict) for child in node.get("children", ())]
    assert sorted(children) == sorted(set(children))
    assert all(child in nodes for child in children)


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_differ_when_names_do(one: str, other: str) -> None:
    assert (bundle.id_of("chart", one) == bundle.id_of("chart", other)) == (one == other)


def test_texts_are_told_from_charts() -> None:
    texts = [block for page in DASHBOARDS for tab in page.tabs for row in tab.rows for block in row]
    assert any(isinstance(block, Text) for block in texts)
