"""Data quality: what landed and what became of it, shares per source and day, parity of both layers. No domain."""

from __future__ import annotations

from collections.abc import Sequence

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

SHARES = Dataset(
    "Quality of the data",
    "MySQL",
    """
SELECT CAST(ds AS DATETIME) AS day, ds, source, dimension, value FROM (
  SELECT q.*, ROW_NUMBER() OVER (PARTITION BY q.ds, q.source, q.dimension ORDER BY q.time DESC) AS newest_first
  FROM data_quality q) newest
WHERE newest_first = 1
""",
    (
        Column("day", "time"),
        Column("ds", "text"),
        Column("source", "text"),
        Column("dimension", "text", "validity, uniqueness, parity, ..."),
        Column("value", description="Share from 0 to 1"),
    ),
    "Shares per source and day; of one measured again, the newest counts",
    "day",
)

LANDED, INGESTED = Metric("SUM(landed)", "Landed"), Metric("SUM(ingested)", "Ingested")
QUARANTINED, DUPLICATE = Metric("SUM(quarantined)", "Quarantined"), Metric("SUM(duplicate)", "Duplicate")
WHOLE = {"d3NumberFormat": ",d"}
COUNTS = dict.fromkeys(("Landed", "Ingested", "Quarantined", "Duplicate", "Missing", "Open books", "Days"), WHOLE)
OF_INGEST = "stage = 'ingest'"


def _total(name: str, metric: Metric, description: str) -> Chart:
    return Chart(
        name,
        BOOK,
        "big_number_total",
        description,
        (metric,),
        where=OF_INGEST,
        options={"y_axis_format": ",d", "subheader": description},
        width=3,
        height=22,
    )


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
SHARE_MAP = Chart(
    "Validity by source and day",
    SHARES,
    "heatmap_v2",
    "Share of the rows that met their contract. Dark is 100 %.",
    (Metric("AVG(value)", "Validity"),),
    ("source",),
    x="ds",
    where="dimension = 'validity'",
    options={
        "linear_color_scheme": "schemeBlues",
        "y_axis_format": ".1%",
        "value_bounds": [0.95, 1],
        "sort_x_axis": "alpha_asc",
        "sort_y_axis": "alpha_desc",
        "normalize_across": "heatmap",
        "legend_type": "continuous",
        "show_legend": True,
        "show_percentage": False,
        "xscale_interval": -1,
        "yscale_interval": 1,
        "bottom_margin": "auto",
        "left_margin": 100,
    },
)
SHARE_TABLE = Chart(
    "Every measure, lowest and newest",
    SHARES,
    "table",
    "Per source and dimension: the lowest day, the mean, and the days measured.",
    (
        Metric("MIN(value)", "Lowest"),
        Metric("AVG(value)", "Mean"),
        Metric("COUNT(DISTINCT ds)", "Days"),
        Metric("MAX(ds)", "Last day"),
    ),
    ("dimension", "source"),
    options={"column_config": {"Lowest": {"d3NumberFormat": ".3%"}, "Mean": {"d3NumberFormat": ".3%"}, "Days": WHOLE}},
)
PARITY = Chart(
    "Parity of the two layers",
    SHARES,
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
    """Why rows were quarantined, by source; a source without any shows as one line of zero."""
    each = "\nUNION ALL\n".join(
        f"SELECT '{source}' AS source, reason, COUNT(*) AS row_count FROM "
        f"(SELECT EXPLODE(reasons) AS reason FROM quarantine_{source}) r GROUP BY reason\n"
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
        (SHARE_MAP, SHARE_TABLE),
        (PARITY, reasons(sources)),
        (STAGES, Text(NOTE, width=6, height=50)),
    )


NOTE = """
#### How to read this page
- A **book** closes when nothing is unaccounted for: `landed = ingested + quarantined + duplicate`.
- A **duplicate** is a fact that is known already; nothing is lost.
- A row in **quarantine** is kept with its reason and can be released.
- **Parity** compares the features that were served with those the batch layer computes again. *parity* should be 100 %.
- Shares come from MySQL and cover the recent days; books come from Hive and cover everything.
"""
