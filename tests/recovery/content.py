"""Two worlds are the same when their tables hold the same rows, but for what names the run that wrote them."""

import json
import os

from include import lake
from include.bundle.bundle import read_files
from include.bundle.store import ObjectStore
from local_stack.analyst import query_hive, query_mysql

#: Names and moments of runs, and the contract's version, differ between worlds that hold the same facts.
ABOUT_RUNS = ("run_id", "closed_at", "ingested_at", "contract_version")
DERIVED = ("tiles", "features", "labels")
#: What a refresh writes, but for which run did it when.
COLUMNS = """
    select table_name, column_name from information_schema.columns join information_schema.tables using (table_name)
    where columns.table_schema = database() and tables.table_schema = database() and table_type = 'BASE TABLE'
    and table_name not like 'refresh%' and column_name not in ('run_id', 'as_of')
"""


def content(name: str, table: str) -> list[str]:
    """A table's rows as sorted texts; landing keys without the world's name."""
    rows = lake.read_rows(name, table)
    kept = [{column: value for column, value in row.items() if column not in ABOUT_RUNS} for row in rows]
    return sorted(json.dumps(row, sort_keys=True, default=str).replace(f"{name}/", "") for row in kept)


def answering(models: ObjectStore, name: str, model_id: str) -> dict[str, bytes]:
    """The files that a model answers by; its lineage and card name the run."""
    files = read_files(models, name, model_id, card=False)
    return {file: files[file] for file in ("weights.safetensors", "encoders.json", "network.json")}


def shown() -> dict[str, list[str]]:
    """What the refreshed tables of MySQL show, as sorted texts."""
    columns: dict[str, list[str]] = {}
    for table, column in query_mysql(os.environ, COLUMNS):
        columns.setdefault(table, []).append(f"`{column}`")
    return {
        table: sorted(map(str, query_mysql(os.environ, f"select {', '.join(names)} from {table}")))
        for table, names in columns.items()
    }


def differing_in_hive(one: str, other: str, table: str) -> int:
    """How many rows of a table Hive's Spark finds in one world and not in the other, counted in both directions."""
    kept = f"* EXCEPT ({', '.join(column for column in ABOUT_RUNS if column in _columns(one, table))})"
    sides = [f"SELECT {kept} FROM {name}.{table}" for name in (one, other)]
    missing = [f"({first} EXCEPT ALL {second})" for first, second in (sides, reversed(sides))]
    ((count,),) = query_hive(
        {**os.environ, "HIVE_DATABASE": one}, f"SELECT count(*) FROM ({' UNION ALL '.join(missing)})"
    )
    return int(count)


def _columns(name: str, table: str) -> list[str]:
    return [field.name for field in lake.open_table(name, table).schema().fields]
