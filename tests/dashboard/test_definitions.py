"""The dashboards of every shipped use case as data: everything that a chart names exists, ids are stable and differ."""

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
from dashboard.pages import COLORS, deployed_pages
from dashboard.specs import Chart, Dashboard, Dataset, Pages, Store, Text, datasets_of
from include.alerts import Kind
from include.spark_jobs.catalog import VIEWS
from include.spark_jobs.refresh_serving import PREDICTION_STATS, RECENT_EVENTS, RECENT_PREDICTIONS, view_name
from include.tables import all_tables
from include.use_case import load_use_case

USE_CASES = ("flight_delay", "bike_share", "template")
DEPLOYMENT = {"LAMBDA_DL_USE_CASES": ",".join(USE_CASES)}
URIS: dict[Store, str] = {
    "MySQL": "mysql+pymysql://analyst:XXXXXXXXXX@host:1/flight_delay",
    "Hive": "hive://a@host:2/x",
}
ALL_PAGES = deployed_pages(DEPLOYMENT)
DASHBOARDS = [page for pages in ALL_PAGES for page in pages.dashboards]
CHARTS = [(pages, chart) for pages in ALL_PAGES for chart in pages.charts()]
DATASETS = [(pages, dataset) for pages in ALL_PAGES for dataset in datasets_of(pages.dashboards)]
DIALECTS = {"MySQL": "mysql", "Hive": "spark"}


def name_of(thing: object) -> str:
    return thing.schema if isinstance(thing, Pages) else str(getattr(thing, "name", thing))


def tables_of(pages: Pages, store: Store) -> set[str]:
    """What a use case has in a store."""
    use_case = load_use_case(pages.schema)
    if store == "Hive":
        return {table.name for table in all_tables(use_case)} | {path.stem for path in VIEWS.glob("*.sql")}
    with_open_days = (RECENT_EVENTS, RECENT_PREDICTIONS, PREDICTION_STATS, *use_case.serving.statistics)
    closed = ("model_quality", "runtime_metrics", "data_quality", "statistics", "alerts", "refresh_log")
    return {*closed, *map(view_name, with_open_days)}


def files() -> dict[str, str]:
    return bundle.files(ALL_PAGES, URIS)


def test_every_use_case_has_the_four_pages_and_the_first_one_the_plain_addresses() -> None:
    plain = ["operations-now", "model-history", "data-quality", "archive"]
    slugs = [[page.slug for page in pages.dashboards] for pages in ALL_PAGES]
    assert slugs == [plain, [f"{slug}__bike_share" for slug in plain], [f"{slug}__template" for slug in plain]]
    assert [pages.schema for pages in ALL_PAGES] == list(USE_CASES)


def test_a_use_case_keeps_its_pages_whoever_stands_beside_it() -> None:
    (alone,) = deployed_pages({"LAMBDA_DL_USE_CASES": "bike_share"})
    assert alone.dashboards[0].slug == "operations-now"
    beside = ALL_PAGES[1]
    assert [chart.title for chart in beside.charts()] == [chart.name for chart in alone.charts()]
    assert {chart.name for chart in beside.charts()}.isdisjoint(chart.name for chart in alone.charts())


def test_the_first_use_case_s_tables_lie_where_the_connection_says() -> None:
    first, second = deployed_pages({"LAMBDA_DL_USE_CASES": "flight_delay,bike_share", "MYSQL_DATABASE": "analysts"})
    assert (first.schema, second.schema) == ("analysts", "bike_share")


def test_a_domain_without_a_part_of_its_own_has_pages_all_the_same() -> None:
    template = ALL_PAGES[2]
    names = {chart.title for chart in template.charts()}
    assert {"Complete through (UTC)", "Answers by day and layer", "Which values differ beyond chance?"} <= names
    assert {"Share by depot"} <= names


def test_counts_are_told_in_means_and_shares_in_shares() -> None:
    titles = [{chart.title or chart.name for chart in pages.charts()} for pages in ALL_PAGES]
    assert {"AUC on the test days, by training night", "Live AUC by hour"} <= titles[0]
    assert {"D² on the test days, by training night", "Predicted and observed by hour"} <= titles[1]
    assert "Live D² by hour" not in titles[1]


def test_every_kind_of_alert_is_counted() -> None:
    assert set(alerts.KINDS) == set(get_args(Kind))


@pytest.mark.parametrize("pages", ALL_PAGES, ids=name_of)
def test_statistics_are_those_of_slices_that_the_use_case_names(pages: Pages) -> None:
    shown = [c for c in pages.charts() if c.dataset.name.startswith("Shares with intervals") and c.where]
    equalities = [found for c in shown for found in sqlglot.parse_one(c.where, dialect="spark").find_all(exp.EQ)]
    assert shown
    assert {chart.x for chart in shown} == {"value"}
    assert {found.this.name for found in equalities} == {"feature"}
    assert {found.expression.this for found in equalities} <= set(load_use_case(pages.schema).slices)


@pytest.mark.parametrize("pages", ALL_PAGES, ids=name_of)
def test_why_rows_were_quarantined_is_asked_of_every_source(pages: Pages) -> None:
    (asked,) = [d for d in datasets_of(pages.dashboards) if d.name.startswith("Reasons of the quarantine")]
    assert all(f"quarantine_{source.name} q" in asked.sql for source in load_use_case(pages.schema).sources)


@pytest.mark.parametrize(("pages", "dataset"), DATASETS, ids=name_of)
def test_a_dataset_reads_tables_that_exist_and_changes_nothing(pages: Pages, dataset: Dataset) -> None:
    (statement,) = sqlglot.parse(dataset.sql, dialect=DIALECTS[dataset.store])
    assert isinstance(statement, exp.Query)
    assert {table.name for table in statement.find_all(exp.Table)} <= tables_of(pages, dataset.store)
    assert dataset.time is None or dataset.time in dataset.column_names()


@pytest.mark.parametrize(("pages", "dataset"), DATASETS, ids=name_of)
def test_a_dataset_declares_the_columns_that_its_statement_returns(pages: Pages, dataset: Dataset) -> None:
    (statement,) = sqlglot.parse(dataset.sql, dialect=DIALECTS[dataset.store])
    assert isinstance(statement, exp.Query)
    assert [column.name for column in dataset.columns] == list(statement.named_selects)


@pytest.mark.parametrize(("pages", "chart"), CHARTS, ids=name_of)
def test_a_chart_uses_columns_that_its_dataset_has(pages: Pages, chart: Chart) -> None:
    dialect = DIALECTS[chart.dataset.store]
    texts = [metric.sql for metric in chart.metrics] + ([chart.where] if chart.where else [])
    in_sql = {c.name for text in texts for c in sqlglot.parse_one(text, dialect=dialect).find_all(exp.Column)}
    named = {*chart.by, *chart.columns, *([chart.x] if chart.x else [])}
    assert in_sql | named <= chart.dataset.column_names()
    assert chart.metrics or chart.columns
    assert chart.description


@pytest.mark.parametrize("pages", ALL_PAGES, ids=name_of)
def test_a_dataset_s_name_means_one_statement(pages: Pages) -> None:
    used = [chart.dataset for chart in pages.charts()] + [f.dataset for page in pages.dashboards for f in page.filters]
    assert len({dataset.name for dataset in used}) == len({(dataset.name, dataset.sql) for dataset in used})


def test_every_id_is_used_once_and_follows_from_the_name() -> None:
    ids = [json.loads(text)["uuid"] for name, text in files().items() if name != "metadata.yaml"]
    assert len(set(ids)) == len(ids)
    assert all(uuid.UUID(one).version == 5 for one in ids)
    assert len({chart.name for _, chart in CHARTS}) == len(CHARTS)
    assert len({dataset.name for _, dataset in DATASETS}) == len(DATASETS)


def test_every_thing_has_a_file_of_its_own() -> None:
    names = [name for name, _ in bundle.things(ALL_PAGES, URIS)]
    assert sorted(set(names)) == sorted(names)


def test_every_dataset_is_asked_of_its_use_case_s_database() -> None:
    texts = files()
    for pages, spec in DATASETS:
        made = json.loads(texts[bundle.file_name(f"datasets/{spec.store}", spec.name)])
        assert made["schema"] == pages.schema


def test_the_same_definitions_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        assert bundle.main([str(tmp_path / name)], DEPLOYMENT) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as made:
        assert f"{bundle.ROOT}/metadata.yaml" in made.namelist()
        assert f"{bundle.ROOT}/dashboards/archive__template.yaml" in made.namelist()


def test_no_password_is_in_a_bundle_and_no_database_may_be_changed() -> None:
    for store in URIS:
        database = json.loads(files()[bundle.file_name("databases", store)])
        assert not database["allow_dml"] and not database["allow_ctas"] and not database["allow_csv_upload"]
    assert "XXXXXXXXXX" in files()["databases/MySQL.yaml"]


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.slug)
def test_a_page_places_each_chart_once_in_rows_of_twelve_columns(page: Dashboard) -> None:
    nodes = bundle.Layout(page).nodes
    placed = [node["meta"] for node in nodes.values() if isinstance(node, dict) and node["type"] == "CHART"]
    assert sorted(meta["uuid"] for meta in placed) == sorted(bundle.id_of("chart", c.name) for c in page.charts())
    assert len({meta["chartId"] for meta in placed}) == len(placed)
    for row in (row for tab in page.tabs for row in tab.rows):
        assert sum(block.width for block in row) <= 12
    children = [child for node in nodes.values() if isinstance(node, dict) for child in node.get("children", ())]
    assert sorted(children) == sorted(set(children))
    assert all(child in nodes for child in children)


def test_what_stands_above_a_chart_does_not_name_the_use_case() -> None:
    nodes = bundle.Layout(ALL_PAGES[1].dashboards[0]).nodes
    named = [node["meta"] for node in nodes.values() if isinstance(node, dict) and node["type"] == "CHART"]
    assert all(meta["sliceName"] == f"{meta['sliceNameOverride']} (bike share)" for meta in named)


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_differ_when_names_do(one: str, other: str) -> None:
    assert (bundle.id_of("chart", one) == bundle.id_of("chart", other)) == (one == other)


def test_texts_are_told_from_charts() -> None:
    texts = [block for page in DASHBOARDS for tab in page.tabs for row in tab.rows for block in row]
    assert any(isinstance(block, Text) for block in texts)


def test_a_series_of_every_use_case_has_its_colour() -> None:
    labels = {metric.label for _, chart in CHARTS for metric in chart.metrics}
    assert {"predicted", "observed", "share", "mean"} <= labels & set(COLORS)
