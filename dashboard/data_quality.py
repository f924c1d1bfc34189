"""Data quality: what landed and what became of it, the scorecard with its thresholds, parity. Knows no domain."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.charts import COUNTING, big_number, heatmap_options
from dashboard.figures import WHOLE, number
from dashboard.specs import Chart, Column, Dataset, Metric, Row, Text

BOOK = Dataset(
    "Book",
    "Hive",
    """
SELECT to_timestamp(ds) AS day, ds, stage, source, landed, ingested, quarantined, duplicate,
  landed - ingested - quarantined - duplicate AS missing, IF(closed, 0, 1) AS open_books, closed_at
FROM book
""",
    (
        Column("day", "time"),
        Column("ds", "text", "UTC day"),
        Column("stage", "text", "ingest, preprocess, labels or scoring"),
        Column("source", "text"),
        Column("landed", description="Rows that came in"),
        Column("ingested", description="Rows that went on"),
        Column("quarantined", description="Rows rejected, with reasons"),
        Column("duplicate", description="Rows already known"),
        Column("missing", description="Rows unaccounted for; must be 0"),
        Column("open_books", description="1 if the book is not closed"),
        Column("closed_at", "time"),
    ),
    "What came in and went out of each stage, per day and source",
    "day",
)

_NEWEST = """
SELECT ds, source, dimension, value, threshold FROM (
    SELECT q.*, ROW_NUMBER() OVER (PARTITION BY q.ds, q.source, q.dimension ORDER BY q.time DESC) AS newest_first
    FROM data_quality q) measured
  WHERE newest_first = 1
"""

SCORECARD = Dataset(
    "Scorecard",
    "MySQL",
    f"""
SELECT CAST(ds AS DATETIME) AS day, ds, source, dimension, CONCAT(dimension, ': ', source) AS measure, value, threshold,
  CASE WHEN value < threshold THEN 1 ELSE 0 END AS falls_short
FROM ({_NEWEST}) newest
""",
    (
        Column("day", "time"),
        Column("ds", "text"),
        Column("source", "text"),
        Column("dimension", "text", "accuracy, completeness, consistency, ...; of predictions: parity"),
        Column("measure", "text", "Dimension and source"),
        Column("value", description="Share from 0 to 1"),
        Column("threshold", description="The least share to train on; empty: none is set"),
        Column("falls_short", description="1 if the share lies below its threshold"),
    ),
    "Shares per source, day and dimension, with the thresholds below which no model is trained",
    "day",
)
SHORTFALLS = Dataset(
    "Shortfalls",
    "MySQL",
    f"""
SELECT ds, source, dimension, value, threshold FROM ({_NEWEST}) newest WHERE value < threshold
UNION ALL
SELECT MAX(ds), '(every source)', '(nothing falls short)', NULL, NULL FROM ({_NEWEST}) newest
HAVING SUM(CASE WHEN value < threshold THEN 1 ELSE 0 END) = 0
""",
    (
        Column("ds", "text"),
        Column("source", "text"),
        Column("dimension", "text"),
        Column("value", description="Share from 0 to 1"),
        Column("threshold"),
    ),
    "What lies below its threshold; one line that says so if nothing does",
)

LANDED, INGESTED = Metric("SUM(landed)", "Landed"), Metric("SUM(ingested)", "Ingested")
QUARANTINED, DUPLICATE = Metric("SUM(quarantined)", "Quarantined"), Metric("SUM(duplicate)", "Duplicate")
COUNTS = dict.fromkeys(("Landed", "Ingested", "Quarantined", "Duplicate", "Missing", "Open books", "Days"), WHOLE)
OF_INGEST = "stage = 'ingest'"


def _total(name: str, metric: Metric, words: str) -> Chart:
    return big_number(name, BOOK, metric, ",d", words, where=OF_INGEST, width=3, height=22)


TOTALS: Row = (
    _total("Rows landed", LANDED, "in all landing files, all days"),
    _total("Rows ingested", INGESTED, "accepted into the raw tables"),
    _total("Rows quarantined", QUARANTINED, "rejected by a contract, with reasons"),
    _total(
        "Rows unaccounted for",
        Metric("SUM(missing)", "Missing"),
        "landed − ingested − quarantined − duplicate: must be 0",
    ),
)
INGEST_BY_DAY = Chart(
    "What became of the rows that landed",
    BOOK,
    "echarts_timeseries_bar",
    "Per day of availability: rows ingested, quarantined, or known already.",
    (INGESTED, QUARANTINED, DUPLICATE),
    x="day",
    where=OF_INGEST,
    options={"stack": "Stack", "y_axis_format": ",d", "x_axis_time_format": "%b %d", "y_axis_title": "rows"},
)
INGEST_BY_SOURCE = Chart(
    "Books of the ingest, by source",
    BOOK,
    "table",
    "Each line must balance: landed = ingested + quarantined + duplicate.",
    (
        LANDED,
        INGESTED,
        QUARANTINED,
        DUPLICATE,
        Metric("SUM(missing)", "Missing"),
        Metric("COUNT(DISTINCT ds)", "Days"),
        Metric("SUM(open_books)", "Open books"),
    ),
    ("source",),
    where=OF_INGEST,
    options={"column_config": COUNTS},
)
STAGES = Chart(
    "Books of every stage",
    BOOK,
    "table",
    "How far each stage has come, and whether a book stayed open.",
    (
        Metric("COUNT(DISTINCT ds)", "Days"),
        LANDED,
        Metric("SUM(open_books)", "Open books"),
        Metric("MAX(ds)", "Last day"),
    ),
    ("stage", "source"),
    options={"column_config": COUNTS},
)
PERCENT = number(".2%")
OF_FACTS = "source <> 'predictions'"
SCORECARD_MAP = Chart(
    "Scorecard by dimension, source and day",
    SCORECARD,
    "heatmap_v2",
    "Share of rows that are as they should be, per source and day. Dark is 100 %.",
    (Metric("AVG(value)", "Share"),),
    ("measure",),
    x="ds",
    where=OF_FACTS,
    options=heatmap_options("schemeBlues", ".1%", 190) | {"value_bounds": [0.8, 1], "show_percentage": False},
    width=12,
    height=110,
)
SCORECARD_TABLE = Chart(
    "Scorecard: lowest day beside the threshold",
    SCORECARD,
    "table",
    "Per dimension and source: the lowest day, the mean, the threshold below which nothing is trained, days below it.",
    (
        Metric("MIN(value)", "Lowest"),
        Metric("AVG(value)", "Mean"),
        Metric("MAX(threshold)", "Threshold"),
        Metric("SUM(falls_short)", "Days below"),
        Metric("COUNT(DISTINCT ds)", "Days"),
    ),
    ("dimension", "source"),
    where=OF_FACTS,
    options={
        "column_config": {
            "Lowest": PERCENT,
            "Mean": PERCENT,
            "Threshold": number(".0%"),
            "Days below": WHOLE,
            "Days": WHOLE,
        }
    },
    width=7,
    height=60,
)
SHORTFALL_TABLE = Chart(
    "What falls short",
    SHORTFALLS,
    "table",
    "Source, day and dimension below a threshold: train_model refuses such days, and an alert is told.",
    columns=("ds", "source", "dimension", "value", "threshold"),
    options={
        "order_by_cols": ['["ds", false]'],
        "column_config": {"value": PERCENT, "threshold": number(".0%")},
    },
    width=5,
    height=60,
)
PARITY = Chart(
    "Parity of the two layers",
    SCORECARD,
    "echarts_timeseries_bar",
    "Share of served features that the batch layer computes again bit for bit, and of those that late facts explain.",
    (Metric("AVG(value)", "Share"),),
    ("dimension",),
    x="day",
    where="source = 'predictions'",
    options={"y_axis_format": ".1%", "x_axis_time_format": "%Y-%m-%d", "show_value": True, "y_axis_bounds": [0, 1]}
    | {"y_axis_title": "share of answers"},
)


def reasons(sources: Sequence[str]) -> Chart:
    """Why rows are in quarantine, by source; a source without any shows as one line of zero.

    A release leaves its rows there, and writes them to raw too.
    """
    each = "\nUNION ALL\n".join(
        f"SELECT '{source}' AS source, reason, COUNT(*) AS row_count FROM (\n"
        f"  SELECT EXPLODE(reasons) AS reason FROM quarantine_{source} q\n"
        f"  WHERE {COUNTING} AND NOT EXISTS (SELECT 1 FROM "
        f"raw_{source} r WHERE r.landing_key = q.landing_key AND r.landing_line = q.landing_line)) r GROUP BY reason\n"
        f"UNION ALL SELECT '{source}', '(none)', 0"
        for source in sources
    )
    dataset = Dataset(
        "Reasons of the quarantine",
        "Hive",
        f"SELECT source, reason, row_count FROM ({each}) all_reasons",
        (Column("source", "text"), Column("reason", "text"), Column("row_count")),
        "Why contracts rejected rows",
    )
    return Chart(
        "Why rows were quarantined",
        dataset,
        "table",
        "Reasons that contracts gave; a row may have several.",
        (Metric("SUM(row_count)", "Quarantined"),),
        ("source", "reason"),
        options={"column_config": COUNTS},
    )


def rows(sources: Sequence[str]) -> tuple[Row, ...]:
    """The page's rows for a use case's sources."""
    return (
        TOTALS,
        (INGEST_BY_DAY, INGEST_BY_SOURCE),
        (SCORECARD_MAP,),
        (SCORECARD_TABLE, SHORTFALL_TABLE),
        (PARITY, reasons(sources)),
        (STAGES, Text(NOTE, width=6, height=50)),
    )


NOTE = """
#### How to read this page
- A **book** closes when nothing is unaccounted for: `landed = ingested + quarantined + duplicate`.
- A **duplicate** is a fact that is known already; nothing is lost.
- A row in **quarantine** is kept with its reason and can be released.
- The **scorecard** has a share for each source, day and dimension; what lies below its **threshold** stops training.
- **Parity** compares the features that were served with those the batch layer computes again. *parity* should be 100 %.
- The scorecard comes from MySQL and covers the recent days; books come from Hive and cover everything.
"""
