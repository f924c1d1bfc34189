"""The Delta tables through delta-rs: open, read a few columns, merge rows into the small tables.

Many writers may use it at once: delta-rs commits by conditional put. Big tables are written by Spark jobs, never here.
It does not know what a table means (see ``tables``).
"""

import logging
import operator
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from include.locations import Lake
from include.settings import S3Settings
from include.tables import Table

log = logging.getLogger(__name__)

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "array<string>": pa.list_(pa.string()),
    "array<bigint>": pa.list_(pa.int64()),
    "map<string,timestamp>": pa.map_(pa.string(), pa.timestamp("us", tz="UTC")),
}
ATTEMPTS = 5
#: Which rows of a key that the table has are replaced, and by what condition of delta-rs.
Update = Literal["none", "newer", "all"]
UPDATES: Mapping[Update, str | None] = {"newer": "source.time > target.time", "all": None}
#: Commits among which a job's last one is looked for first: each is a file to read, and maintenance makes few a night.
NEWEST_COMMITS = 50


def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns as an Arrow schema (timestamps in microseconds, UTC)."""
    return pa.schema([pa.field(column.name, ARROW_TYPES[column.type]) for column in table.columns])


def open_table(use_case: str, table: str, settings: S3Settings | None = None, version: int | None = None) -> DeltaTable:
    """Open a table at its newest version, or at a given one; raises ``TableNotFoundError`` if there is none."""
    s3 = settings or S3Settings.from_environment(os.environ)
    return DeltaTable(Lake(use_case).path(table, "s3"), version=version, storage_options=s3.delta_options())


def has_tables(use_case: str, tables: Iterable[Table]) -> bool:
    """Whether all of these tables exist."""
    options = S3Settings.from_environment(os.environ).delta_options()
    places = (Lake(use_case).path(table.name, "s3") for table in tables)
    return all(DeltaTable.is_deltatable(place, options) for place in places)


def dataset(use_case: str, table: str, ds: Iterable[str] | None = None) -> pads.Dataset:
    """The rows of a table (of some days) as a PyArrow dataset; only the files of those days are opened."""
    partitions = None if ds is None else [("ds", "in", sorted(set(ds)))]
    return open_table(use_case, table).to_pyarrow_dataset(partitions=partitions)


def read_rows(
    use_case: str, table: str, columns: Sequence[str] | None = None, ds: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of a table as dictionaries, optionally only some columns and days. For small results."""
    names = None if columns is None else list(columns)
    return list(dataset(use_case, table, ds).to_table(columns=names).to_pylist())


def count_by(
    use_case: str, table: str, columns: Sequence[str], ds: Iterable[str], where: pads.Expression | None = None
) -> dict[tuple[Any, ...], int]:
    """Rows per combination of columns, over some days, of those for which ``where`` holds; read batch by batch."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for batch in dataset(use_case, table, ds).to_batches(columns=list(columns), filter=where):
        grouped = pa.Table.from_batches([batch]).group_by(list(columns)).aggregate([([], "count_all")])
        counts.update({tuple(row[column] for column in columns): row["count_all"] for row in grouped.to_pylist()})
    return dict(counts)


def has_row(use_case: str, table: Table, row: Mapping[str, Any]) -> bool:
    """Whether a table has a row of this row's key."""
    (first, *rest) = (pads.field(name) == row[name] for name in table.key)
    return bool(dataset(use_case, table.name).count_rows(filter=reduce(operator.and_, rest, first)))


def rows_by_day(use_case: str, table: str) -> dict[str, int]:
    """Rows of a table by ``ds``, from its log alone: no data file is opened."""
    actions = pa.table(open_table(use_case, table).get_add_actions(flatten=True))
    counts: dict[str, int] = {}
    for ds, rows in zip(actions["partition.ds"].to_pylist(), actions["num_records"].to_pylist(), strict=True):
        counts[ds] = counts.get(ds, 0) + int(rows)
    return counts


def few_at_a_time(days: Iterable[str], rows: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """The days in order, as many together as have at most ``most`` of the ``rows`` by day; one with more is alone."""
    part: list[str] = []
    held = 0
    for ds in days:
        if part and held + rows.get(ds, 0) > most:
            yield part
            part, held = [], 0
        part.append(ds)
        held += rows.get(ds, 0)
    if part:
        yield part


def last_written(use_case: str, table: str) -> datetime | None:
    """When a job last wrote rows, UTC, by its commit; maintenance does not count. ``None``: never."""
    opened = open_table(use_case, table)
    for limit in (NEWEST_COMMITS, None):
        for commit in opened.history(limit):
            if commit["operation"] in ("WRITE", "MERGE"):
                return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
    return None


def merge_rows(
    use_case: str,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    update: Update = "none",
) -> int:
    """Insert the rows whose key the table lacks, in one commit; ``update`` says which of those it has to replace.

    ``newer`` are those whose ``time`` is later than the table's. Where ``ds`` is part of the key no other day is read.
    Returns how many rows were inserted or replaced. Rows with the same key within ``rows``: the last one counts.
    Repeats the commit when another writer was faster.
    """
    unique = {tuple(row[name] for name in table.key): row for row in rows}
    if not unique:
        return 0
    content = pa.Table.from_pylist([dict(row) for row in unique.values()], schema=arrow_schema(table))
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _merge_once(use_case, table, content, update)
        except CommitFailedError:
            if attempt == ATTEMPTS:
                raise
            log.info("another writer committed to %s first; merging again (%d)", table.name, attempt)
    raise AssertionError("unreachable")


def quoted(text: str) -> str:
    """A literal of delta-rs' SQL."""
    return "'" + text.replace("'", "''") + "'"


def _merge_once(use_case: str, table: Table, content: pa.Table, update: Update) -> int:
    same = [f"target.{name} = source.{name}" for name in table.key]
    if "ds" in table.key:
        # By name, as delta-rs reads every file of the history to find the days of the new rows itself.
        days = sorted(set(content.column("ds").to_pylist()))
        same.append(f"target.ds IN ({', '.join(map(quoted, days))})")
    condition = " AND ".join(same)
    # A column declared since the table was made is added to it, null in its older rows.
    merge = open_table(use_case, table.name).merge(
        content, predicate=condition, source_alias="source", target_alias="target", merge_schema=True
    )
    if update != "none":
        merge = merge.when_matched_update_all(predicate=UPDATES[update])
    result = merge.when_not_matched_insert_all().execute()
    return int(result["num_target_rows_inserted"]) + int(result["num_target_rows_updated"])
