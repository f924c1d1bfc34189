"""What reads raw and quarantine counts what counts: both keep withdrawn files' rows, and quarantine released ones.

In DuckDB in the place of Hive.
"""

import duckdb
import pytest
import sqlglot

from dashboard.data_quality import reasons
from dashboard.use_cases.flight_delay import ARCHIVE_DAYS, BY_DESTINATION

DAY = "TIMESTAMP '2013-02-01 10:00:00'"
#: Of each source one fact of a file that counts, and two of a withdrawn one.
TABLES = {
    "raw_departures": f"{DAY} AS scheduled_departure, 'EWR' AS origin, 'UA' AS carrier, 20 AS departure_delay",
    "raw_cancellations": f"{DAY} AS scheduled_departure, 'EWR' AS origin, 'UA' AS carrier",
    "raw_arrivals": "'IAH' AS dest, 20.0 AS arrival_delay",
}


@pytest.fixture
def store() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, columns in TABLES.items():
        kept, withdrawn = (
            f"SELECT {columns}, '2013-02-01' AS ds, '{name}/{file}' AS landing_key, 1 AS landing_line" for file in "ab"
        )
        connection.execute(f"CREATE TABLE {name} AS {kept} UNION ALL {withdrawn} UNION ALL {withdrawn}")
    keys = ", ".join(f"'{name}/b'" for name in TABLES)
    connection.execute(f"CREATE TABLE retracted_files AS SELECT UNNEST([{keys}]) AS landing_key")
    return connection


def asked(store: duckdb.DuckDBPyConnection, sql: str, columns: str) -> list[tuple[object, ...]]:
    """What a data set of a dashboard shows."""
    (statement,) = sqlglot.transpile(sql, read="spark", write="duckdb")
    return store.execute(f"SELECT {columns} FROM ({statement}) ORDER BY ALL").fetchall()


def test_withdrawn_facts_are_in_no_figure(store: duckdb.DuckDBPyConnection) -> None:
    assert asked(store, ARCHIVE_DAYS.sql, "departed, departed_late, cancelled") == [(1, 1, 1)]
    assert asked(store, BY_DESTINATION.sql, "destination, flights") == [("IAH", 1)]


def test_rows_that_were_released_or_withdrawn_need_nobody(store: duckdb.DuckDBPyConnection) -> None:
    rows = [("a", 1, "released"), ("a", 2, "torn"), ("a", 3, "torn"), ("b", 4, "withdrawn")]
    store.execute("CREATE TABLE quarantine_arrivals (landing_key TEXT, landing_line INT, reasons TEXT[])")
    for file, line, reason in rows:
        store.execute("INSERT INTO quarantine_arrivals VALUES (?, ?, [?])", [f"raw_arrivals/{file}", line, reason])
    sql = reasons(["arrivals"]).dataset.sql
    assert asked(store, sql, "reason, row_count") == [("(none)", 0), ("torn", 2)]
