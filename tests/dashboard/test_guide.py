"""The queries of the analysts' guide and of the page on statistics, as an analyst runs them: its store answers each."""

import os
import re
from pathlib import Path

import pytest

from local_stack.analyst import query_hive, query_mysql

pytestmark = pytest.mark.dashboard

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = (DOCS / "analysts.md").read_text()


def statements(text: str) -> list[str]:
    """The SQL blocks of a page; Hive takes no semicolon."""
    return [block.strip().removesuffix(";") for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]


def queries(heading: str) -> list[str]:
    """The SQL blocks below a heading of the guide."""
    return statements(GUIDE.split(f"### {heading}\n")[1].split("\n## ")[0].split("\n### ")[0])


def test_the_guide_has_five_queries_for_each_store() -> None:
    assert len(queries("Five queries for MySQL")) == len(queries("Five queries for Hive")) == 5


@pytest.mark.parametrize("statement", queries("Five queries for MySQL"))
def test_mysql_answers(statement: str) -> None:
    assert query_mysql(os.environ, statement)


@pytest.mark.parametrize("statement", queries("Five queries for Hive"))
def test_hive_answers(statement: str) -> None:
    assert query_hive(os.environ, statement)


@pytest.mark.parametrize("statement", statements((DOCS / "statistics.md").read_text()))
def test_hive_answers_about_statistics(statement: str) -> None:
    found = query_hive(os.environ, statement)
    # What is asked for because it is beyond chance need not be there.
    assert found or "q_value < 0.05" in statement


def test_both_layers_have_counted() -> None:
    rows = query_mysql(os.environ, "SELECT layer, SUM(departed) FROM hourly_stats_now GROUP BY layer")
    departed: dict[str, int] = dict(rows)
    assert set(departed) == {"batch", "speed"}
    assert min(departed.values()) > 0, "the open day has no departure"
