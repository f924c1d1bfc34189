"""From the dashboards as data to the files of a Superset import bundle.

    python -m dashboard.bundle out.zip     # a bundle without passwords, for any Superset 6.1

Every id follows from a name (UUID version 5), so an import replaces what an earlier one made, and the same definitions
give the same bytes. It has the use cases that ``LAMBDA_DL_USE_CASES`` names; it does not know where the bundle goes.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dashboard.pages import deployed_pages
from dashboard.specs import Chart, Column, Dashboard, Dataset, Filter, Metric, Pages, Store, Tab, Text, datasets_of

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "dashboard.lambda-dl")
VERSION = "1.0.0"
#: Files of a bundle lie below one folder, whatever its name.
ROOT = "lambda_dl"
#: ZIP knows no earlier time; a fixed one makes equal bundles equal in every byte.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
TYPES = {
    "MySQL": {"text": "VARCHAR(255)", "number": "DOUBLE", "time": "DATETIME"},
    "Hive": {"text": "STRING", "number": "DOUBLE", "time": "TIMESTAMP"},
}
#: How long a store's answers may be shown again, seconds: MySQL is asked each time, the archive changes once a day.
KEPT_SECONDS: Mapping[Store, int] = {"MySQL": -1, "Hive": 3600}
#: Column headings that do not follow from a column's name.
HEADINGS = {
    **{"ds": "Day (UTC)", "from_ds": "First day", "to_ds": "Last day"},
    **{"from_time": "From (UTC)", "to_time": "To (UTC)", "complete_through": "Complete through (UTC)"},
    **{"time": "Time (UTC)", "night": "Trained (UTC)", "who": "Model or rival"},
}
ANY_TIME = "No filter"
PALETTE = "supersetColors"


def id_of(kind: str, name: str) -> str:
    """The stable UUID of a thing."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{name}"))


def file_name(folder: str, name: str) -> str:
    """Where a thing's file lies in the bundle."""
    return f"{folder}/{''.join(c if c.isalnum() else '_' for c in name)}.yaml"


def database(store: Store, uri: str) -> dict[str, Any]:
    """One store as a Superset database: to read, never to change; Hive's queries in SQL Lab go to the worker."""
    return {
        "database_name": store,
        "sqlalchemy_uri": uri,
        "cache_timeout": KEPT_SECONDS[store],
        "expose_in_sqllab": True,
        "allow_run_async": store == "Hive",
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_csv_upload": False,
        "extra": {"allows_virtual_table_explore": True, "metadata_cache_timeout": {}},
        "uuid": id_of("database", store),
        "version": VERSION,
        "is_managed_externally": True,
    }


def dataset(spec: Dataset, schema: str) -> dict[str, Any]:
    """One data set with its columns declared, so that an import asks no store."""
    return {
        "table_name": spec.name,
        "description": spec.description,
        "main_dttm_col": spec.time,
        "schema": schema,
        "sql": spec.sql,
        "columns": [_column(column, spec) for column in spec.columns],
        "metrics": [{"metric_name": "count", "expression": "COUNT(*)", "verbose_name": "Rows"}],
        "uuid": id_of("dataset", spec.name),
        "database_uuid": id_of("database", spec.store),
        "version": VERSION,
        "cache_timeout": KEPT_SECONDS[spec.store],
        "is_managed_externally": True,
    }


def _column(column: Column, spec: Dataset) -> dict[str, Any]:
    return {
        "column_name": column.name,
        "type": TYPES[spec.store][column.kind],
        "is_dttm": column.kind == "time",
        "is_active": True,
        "groupby": True,
        "filterable": True,
        "verbose_name": HEADINGS.get(column.name, column.name.replace("_", " ").capitalize()),
        "description": column.description or None,
    }


def metric(spec: Metric) -> dict[str, Any]:
    """A metric as a chart's form holds it."""
    return {
        "expressionType": "SQL",
        "sqlExpression": spec.sql,
        "label": spec.label,
        "hasCustomLabel": True,
        "optionName": f"metric_{id_of('metric', spec.sql + spec.label)[:13]}",
    }


def _filters(chart: Chart) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if chart.dataset.time:
        found.append(
            {
                "clause": "WHERE",
                "expressionType": "SIMPLE",
                "subject": chart.dataset.time,
                "operator": "TEMPORAL_RANGE",
                "comparator": ANY_TIME,
            }
        )
    if chart.where:
        found.append({"clause": "WHERE", "expressionType": "SQL", "sqlExpression": chart.where})
    return found


def params(chart: Chart) -> dict[str, Any]:
    """The form of a chart: what its kind needs, then its own options."""
    metrics = [metric(m) for m in chart.metrics]
    form: dict[str, Any] = {
        "viz_type": chart.kind,
        "adhoc_filters": _filters(chart),
        "color_scheme": PALETTE,
        "row_limit": 10_000,
        "extra_form_data": {},
    }
    if chart.kind.startswith("big_number"):
        form |= {"metric": metrics[0], "header_font_size": 0.3, "subheader_font_size": 0.125}
    elif chart.kind == "table":
        form |= _table(chart, metrics)
    elif chart.kind == "heatmap_v2":
        form |= {"x_axis": chart.x, "groupby": chart.by[0], "metric": metrics[0]}
    elif chart.kind == "pie":
        form |= {"groupby": list(chart.by), "metric": metrics[0]}
    else:
        form |= _series(chart, metrics)
    return form | dict(chart.options)


def _table(chart: Chart, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    shared = {"table_timestamp_format": "%Y-%m-%d %H:%M", "show_cell_bars": False, "include_search": False}
    if chart.columns:
        return {**shared, "query_mode": "raw", "all_columns": list(chart.columns), "order_by_cols": []}
    first = chart.lowest_first or chart.highest_first
    sorting = {"timeseries_limit_metric": metric(first), "order_desc": first is chart.highest_first} if first else {}
    return {**shared, "query_mode": "aggregate", "groupby": list(chart.by), "metrics": metrics, **sorting}


def _series(chart: Chart, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "x_axis": chart.x,
        "groupby": list(chart.by),
        "metrics": metrics,
        "truncate_metric": True,
        "show_legend": True,
        "legendOrientation": "top",
        "legendType": "scroll",
        "rich_tooltip": True,
        "x_axis_time_format": "smart_date",
        "x_axis_sort_asc": True,
        "y_axis_title_position": "Left",
        "y_axis_title_margin": 50,
        "x_axis_title_margin": 30,
        "sort_series_type": "name",
        "sort_series_ascending": True,
        "order_desc": False,
    }


def chart(spec: Chart) -> dict[str, Any]:
    """One chart's file."""
    return {
        "slice_name": spec.name,
        "description": spec.description,
        "viz_type": spec.kind,
        "params": params(spec),
        "cache_timeout": KEPT_SECONDS[spec.dataset.store],
        "uuid": id_of("chart", spec.name),
        "version": VERSION,
        "dataset_uuid": id_of("dataset", spec.dataset.name),
        "is_managed_externally": True,
    }


class Layout:
    """The tree of a dashboard's tabs, rows and blocks, by id, as Superset keeps it."""

    def __init__(self, spec: Dashboard) -> None:
        self._spec = spec
        self._chart_number = 0
        self.nodes: dict[str, Any] = {
            "DASHBOARD_VERSION_KEY": "v2",
            "HEADER_ID": {"id": "HEADER_ID", "type": "HEADER", "meta": {"text": spec.title}},
        }
        self._node("ROOT_ID", "ROOT", [], ["GRID_ID"])
        if len(spec.tabs) == 1:
            self._node("GRID_ID", "GRID", ["ROOT_ID"], self._rows(spec.tabs[0], ["ROOT_ID", "GRID_ID"]))
            return
        path = ["ROOT_ID", "GRID_ID"]
        tabs = self._id("TABS", "all")
        self._node("GRID_ID", "GRID", ["ROOT_ID"], [tabs])
        self._node(tabs, "TABS", path, [self._tab(tab, [*path, tabs]) for tab in spec.tabs])

    def _id(self, kind: str, name: str) -> str:
        return f"{kind}-{id_of(kind, f'{self._spec.slug}/{name}')[:13]}"

    def _node(self, key: str, kind: str, parents: list[str], children: list[str], **meta: Any) -> str:
        self.nodes[key] = {"id": key, "type": kind, "parents": parents, "children": children, "meta": meta}
        return key

    def _tab(self, tab: Tab, path: list[str]) -> str:
        key = self._id("TAB", tab.title)
        return self._node(key, "TAB", path, self._rows(tab, [*path, key]), text=tab.title)

    def _rows(self, tab: Tab, path: list[str]) -> list[str]:
        keys = []
        for number, row in enumerate(tab.rows):
            key = self._id("ROW", f"{tab.title}/{number}")
            children = [self._block(block, f"{tab.title}/{number}/{at}", [*path, key]) for at, block in enumerate(row)]
            keys.append(self._node(key, "ROW", path, children, background="BACKGROUND_TRANSPARENT"))
        return keys

    def _block(self, block: Chart | Text, place: str, path: list[str]) -> str:
        size = {"width": block.width, "height": block.height}
        if isinstance(block, Text):
            return self._node(self._id("MARKDOWN", place), "MARKDOWN", path, [], code=block.markdown, **size)
        # Superset replaces the number by the chart's own; it only has to be there and differ from the others.
        self._chart_number += 1
        about = {"chartId": self._chart_number, "uuid": id_of("chart", block.name), "sliceName": block.name}
        about |= {"sliceNameOverride": block.title} if block.title else {}
        return self._node(self._id("CHART", block.name), "CHART", path, [], **about, **size)


def native_filter(spec: Filter) -> dict[str, Any]:
    """A filter above the dashboard: several values may be chosen, all by default."""
    return {
        "id": f"NATIVE_FILTER-{id_of('filter', spec.name)[:13]}",
        "name": spec.name,
        "type": "NATIVE_FILTER",
        "filterType": "filter_select",
        "targets": [{"column": {"name": spec.column}, "datasetUuid": id_of("dataset", spec.dataset.name)}],
        "controlValues": {"multiSelect": True, "enableEmptyFilter": False, "defaultToFirstItem": False},
        "defaultDataMask": {"extraFormData": {}, "filterState": {}},
        "cascadeParentIds": [],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        "description": "",
    }


def dashboard(spec: Dashboard) -> dict[str, Any]:
    """One dashboard's file."""
    return {
        "dashboard_title": spec.title,
        "description": spec.description,
        "slug": spec.slug,
        "css": "",
        "uuid": id_of("dashboard", spec.slug),
        "position": Layout(spec).nodes,
        "metadata": {
            "color_scheme": PALETTE,
            "color_scheme_domain": [],
            "shared_label_colors": [],
            "map_label_colors": {},
            "refresh_frequency": spec.refresh_seconds,
            "cross_filters_enabled": False,
            "native_filter_configuration": [native_filter(f) for f in spec.filters],
            "timed_refresh_immune_slices": [],
            "expanded_slices": {},
            "label_colors": dict(spec.colors),
        },
        "version": VERSION,
        "published": True,
        "is_managed_externally": True,
    }


def things(pages: Sequence[Pages], uris: Mapping[Store, str]) -> Iterator[tuple[str, Any]]:
    """Every file of the bundle with what it holds."""
    # Superset wants a time there, and a bundle of the same definitions must not change.
    yield "metadata.yaml", {"version": VERSION, "type": "assets", "timestamp": "2013-01-01T00:00:00+00:00"}
    for store, uri in uris.items():
        yield file_name("databases", store), database(store, uri)
    for some in pages:
        for spec in datasets_of(some.dashboards):
            yield file_name(f"datasets/{spec.store}", spec.name), dataset(spec, some.schema)
        for one in some.charts():
            yield file_name("charts", one.name), chart(one)
        for page in some.dashboards:
            yield file_name("dashboards", page.slug), dashboard(page)


def files(pages: Sequence[Pages], uris: Mapping[Store, str]) -> dict[str, str]:
    """The bundle as texts by file name. JSON is YAML too, and the standard library writes it."""
    return {name: json.dumps(value, indent=1) + "\n" for name, value in things(pages, uris)}


def zipped(texts: Mapping[str, str], target: Path) -> None:
    """Write the bundle as Superset's import takes it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in texts.items():
            bundle.writestr(zipfile.ZipInfo(f"{ROOT}/{name}", ZIP_TIME), text)


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Write a bundle for a Superset somewhere; its databases get their addresses and passwords there."""
    if len(arguments) != 1:
        print("usage: python -m dashboard.bundle OUT.zip", file=sys.stderr)
        return 2
    pages = deployed_pages(environment)
    uris: dict[Store, str] = {
        "MySQL": f"mysql+pymysql://analyst:XXXXXXXXXX@mysql:3306/{pages[0].schema}",
        "Hive": f"hive://analyst@hiveserver2:10000/{pages[0].schema}",
    }
    zipped(files(pages, uris), Path(arguments[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
