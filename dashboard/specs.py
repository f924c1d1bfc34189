"""What a dashboard is made of, as data: data sets, charts, texts, rows, tabs. It does not know Superset's formats.

A data set is one SQL statement in one of the two stores; a chart shows columns and metrics of one data set. Names are
the identity: a chart or data set that keeps its name keeps its id in Superset, whatever else changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Store = Literal["MySQL", "Hive"]
#: Columns of a dashboard's grid.
GRID_COLUMNS = 12


@dataclass(frozen=True)
class Column:
    """One column that a data set's statement returns; ``kind`` is how Superset treats it."""

    name: str
    kind: Literal["text", "number", "time"] = "number"
    description: str = ""


@dataclass(frozen=True)
class Dataset:
    """One statement over one store; ``time`` names the column that a dashboard's time filter binds."""

    name: str
    store: Store
    sql: str
    columns: tuple[Column, ...]
    description: str
    time: str | None = None

    def column_names(self) -> set[str]:
        """The names of its columns."""
        return {column.name for column in self.columns}


@dataclass(frozen=True)
class Metric:
    """An aggregate in SQL, with the words that a reader sees."""

    sql: str
    label: str


@dataclass(frozen=True)
class Chart:
    """One chart: its kind in Superset's words, the columns it groups by, its metrics, and options of the kind."""

    name: str
    dataset: Dataset
    kind: str
    description: str
    metrics: tuple[Metric, ...] = ()
    by: tuple[str, ...] = ()
    x: str | None = None
    columns: tuple[str, ...] = ()
    where: str = ""
    lowest_first: Metric | None = None
    highest_first: Metric | None = None
    """Of a table: the metric that it is sorted by, rising or falling; by default the first one, falling."""
    options: Mapping[str, Any] = field(default_factory=dict)
    width: int = 6
    height: int = 50
    title: str = ""
    """What stands above it; by default its name."""


@dataclass(frozen=True)
class Text:
    """A text in Markdown between charts."""

    markdown: str
    width: int = GRID_COLUMNS
    height: int = 12


Block = Chart | Text
Row = tuple[Block, ...]


@dataclass(frozen=True)
class Tab:
    """One tab of a dashboard."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Filter:
    """A filter above a dashboard: the values of one column of one data set, for every chart that has such a column."""

    name: str
    dataset: Dataset
    column: str


@dataclass(frozen=True)
class Dashboard:
    """One page; its ``slug`` is the end of its address."""

    title: str
    slug: str
    description: str
    tabs: tuple[Tab, ...]
    filters: tuple[Filter, ...] = ()
    colors: Mapping[str, str] = field(default_factory=dict)
    """Colours of series by their name; the others follow the palette."""
    refresh_seconds: int = 0

    def charts(self) -> Iterator[Chart]:
        """Its charts in reading order."""
        for tab in self.tabs:
            for row in tab.rows:
                yield from (block for block in row if isinstance(block, Chart))


@dataclass(frozen=True)
class Pages:
    """The pages over one use case's tables, which lie in the database ``schema`` of both stores."""

    schema: str
    dashboards: tuple[Dashboard, ...]

    def charts(self) -> Iterator[Chart]:
        """The charts of every page."""
        return (chart for page in self.dashboards for chart in page.charts())


def datasets_of(dashboards: Sequence[Dashboard]) -> list[Dataset]:
    """Every data set that a chart or filter needs, once, by name."""
    found: dict[str, Dataset] = {}
    for dashboard in dashboards:
        used: list[Chart | Filter] = [*dashboard.charts(), *dashboard.filters]
        found |= {one.dataset.name: one.dataset for one in used}
    return [found[name] for name in sorted(found)]
