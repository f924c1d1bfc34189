"""The queries of the analysts' guide, as an analyst runs them: each is answered by its store."""

import os
import re
from pathlib import Path

import pytest

from local_stack.analyst import query_hive, query_mysql

pytestmark = pytest.mark.dashboard

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "analysts.md").read_text()
#: A query whose answer may be empty: no fault was found.
NO_ROW_IS_GOOD = "WHERE NOT closed"


def queries(heading: str) -> list[str]:
    """The SQL blocks below a heading of the guide."""
    section = GUIDE.split(f"### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(r"```sql\n(.*?)```", section, re.DOTALL)


def test_the_guide_has_five_queries_for_each_store() -> None:
    assert len(queries("Five queries for MySQL")) == len(queries("Five queries for Hive")) == 5


@pytest.mark.parametrize("statement", queries("Five queries for MySQL"))
def test_mysql_answers(statement: str) -> None:
    assert query_mysql(os.environ, statement)


@pytest.mark.parametrize("statement", queries("Five queries for Hive"))
def test_hive_answers(statement: str) -> None:
    assert query_hive(os.environ, statement) or NO_ROW_IS_GOOD in statement
