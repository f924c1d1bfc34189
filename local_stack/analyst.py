"""The analysts' doors: one statement to the warehouse (HiveServer2) or to the short-term store (MySQL), and its rows.

Signed in as an analyst, who can read and nothing else. It does not know what is asked.
"""

from collections.abc import Mapping
from typing import Any

import pymysql
from pyhive import hive

Row = tuple[Any, ...]


def query_hive(environment: Mapping[str, str], statement: str) -> list[Row]:
    """Ask the warehouse; a cold table costs seconds."""
    connection = hive.connect(
        host=environment["HIVE_HOST"],
        port=int(environment["HIVE_PORT"]),
        username=environment["HIVE_USER"],
        database=environment["HIVE_DATABASE"],
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def query_mysql(environment: Mapping[str, str], statement: str) -> list[Row]:
    """Ask the short-term store; raises ``pymysql.err.OperationalError`` for anything but reading."""
    connection = pymysql.connect(
        host=environment["MYSQL_HOST"],
        port=int(environment["MYSQL_PORT"]),
        user=environment["MYSQL_ANALYST_USER"],
        password=environment["MYSQL_ANALYST_PASSWORD"],
        database=environment["MYSQL_DATABASE"],
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
