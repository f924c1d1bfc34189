"""Alerts: how many of each kind somebody was told, and the newest of them. Knows no domain."""

from __future__ import annotations

from dashboard.figures import WHOLE
from dashboard.specs import Chart, Column, Dataset, Metric, Row, Text

#: Every kind of alert in words. A kind that nobody was told of is shown too, with a count of zero.
KINDS = {
    "day_late": "A landing did not come, or a day was not closed in time",
    "quality": "A day of a source lies below a threshold of the scorecard",
    "refresh_stale": "MySQL was not refreshed for too long",
    "task_failed": "A task has failed for good",
    "deadline_missed": "A run took longer than its deadline",
}
#: An aggregate without groups has a row even where there is none to count.
_EVERY_KIND = "\nUNION ALL\n".join(
    f"SELECT '{kind}' AS kind, '{words}' AS meaning, COUNT(*) AS told, MAX(time) AS last_told FROM alerts "
    f"WHERE kind = '{kind}'"
    for kind, words in KINDS.items()
)

BY_KIND = Dataset(
    "Alerts by kind",
    "MySQL",
    f"SELECT kind, meaning, told, last_told FROM ({_EVERY_KIND}) kinds",
    (
        Column("kind", "text"),
        Column("meaning", "text"),
        Column("told", description="Alerts of this kind on the recent days that had any"),
        Column("last_told", "time", "When the last was told, UTC"),
    ),
    "How often somebody was told of each kind of trouble; a kind without an alert has zero",
)
ALERTS = Dataset(
    "Alerts",
    "MySQL",
    """
SELECT time, kind, subject, message FROM alerts
UNION ALL
SELECT UTC_TIMESTAMP(), '(none)', '', 'Nobody had to be told anything' FROM (SELECT 1 AS one) nobody
WHERE NOT EXISTS (SELECT 1 FROM alerts)
""",
    (
        Column("time", "time", "When it was told, UTC"),
        Column("kind", "text"),
        Column("subject", "text", "A DAG and task, a source and dimension, or a table"),
        Column("message", "text", "What is wrong"),
    ),
    "What somebody was told; one line that says so if there was nothing",
    "time",
)

COUNTS = Chart(
    "Alerts by kind",
    BY_KIND,
    "table",
    "How often each kind of trouble was told, to the log, this table and the webhook; zero is good.",
    (Metric("MAX(told)", "Told"), Metric("MAX(last_told)", "Last told (UTC)")),
    ("kind", "meaning"),
    options={"column_config": {"Told": WHOLE}},
    width=12,
    height=36,
)
NEWEST = Chart(
    "Alerts, newest first",
    ALERTS,
    "table",
    "What is late or wrong, in words. The same thing is told once.",
    columns=("time", "kind", "subject", "message"),
    options={"order_by_cols": ['["time", false]'], "server_page_length": 20},
    width=12,
    height=50,
)
NOTE = """
The watch (`watch_freshness`) looks every quarter of an hour; failed tasks and missed deadlines are told at once.
What is shown here is as of the last refresh of MySQL.
"""

ROWS: tuple[Row, ...] = ((Text(NOTE, height=10),), (COUNTS,), (NEWEST,))
