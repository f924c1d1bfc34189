"""Statistics of the archive as `compute_statistics` has computed them: shares, tests, change, drift. Knows no domain.

Nothing is computed here: intervals and tests know the days (docs/statistics.md), and a chart's SQL could not.
"""

from __future__ import annotations

from dashboard.specs import Chart, Column, Dataset, Metric

_COLUMNS = """feature, IF(value RLIKE '^[0-9]$', CONCAT('0', value), value) AS value, from_ds, to_ds, base_from_ds,
  base_to_ds, days, rows AS subjects, positives, share, share_low, share_high, base_share, difference, difference_low,
  difference_high, p_value, q_value"""
FIGURES = (
    Column("feature", "text", "The feature whose values are compared"),
    Column("value", "text", "One of its values"),
    Column("from_ds", "text", "First day looked at"),
    Column("to_ds", "text", "Last day looked at"),
    Column("base_from_ds", "text", "First day of what it is compared with"),
    Column("base_to_ds", "text", "Last day of what it is compared with"),
    Column("days", description="Days with such subjects; the unit of the test"),
    Column("subjects", description="Subjects whose outcome is known"),
    Column("positives", description="Those for whom the predicted event happened"),
    Column("share", description="positives / subjects"),
    Column("share_low", description="Lower end of the share's 95 % interval (Wilson)"),
    Column("share_high", description="Upper end of the share's 95 % interval"),
    Column("base_share", description="The share of what it is compared with"),
    Column("difference", description="share - base_share"),
    Column("difference_low", description="Lower end of its 95 % interval, days as clusters"),
    Column("difference_high", description="Upper end of its 95 % interval"),
    Column("p_value", description="Two-sided, days as clusters"),
    Column("q_value", description="After Benjamini and Hochberg, over the values of a feature"),
)
SHARES = Dataset(
    "Shares with intervals",
    "Hive",
    f"SELECT {_COLUMNS} FROM statistics_now WHERE statistic = 'share'",
    FIGURES,
    "Each value of a feature against all its other values, over the archive; as of the last day with closed labels",
)
CHANGES = Dataset(
    "Changes of a month",
    "Hive",
    f"SELECT {_COLUMNS} FROM statistics_now WHERE statistic = 'change'",
    FIGURES,
    "Each value of a feature in the last month against the month before (halves of an archive shorter than two months)",
)
DRIFTS = Dataset(
    "Drift of features",
    "Hive",
    """
SELECT TO_TIMESTAMP(ds) AS day, ds, IF(ds = MAX(ds) OVER (), 1, 0) AS newest, feature, psi, rows AS subjects,
  CONCAT(from_ds, ' to ', to_ds) AS month, CONCAT(base_from_ds, ' to ', base_to_ds) AS month_before
FROM statistics WHERE statistic = 'drift'
""",
    (
        Column("day", "time", "As of this day, UTC"),
        Column("ds", "text"),
        Column("newest", description="1 if these are the newest figures"),
        Column("feature", "text"),
        Column("psi", description="Population stability index: below 0.1 no drift, above 0.25 much"),
        Column("subjects"),
        Column("month", "text", "Days whose values are compared"),
        Column("month_before", "text", "Days with which they are compared"),
    ),
    "How far the values of each feature in a month are from those of the month before, as of each day it was computed",
    "day",
)

SHARE = {"d3NumberFormat": ".1%"}
DIFFERENCE = {"d3NumberFormat": "+.1%"}
Q_VALUE = {"d3NumberFormat": ".2~g"}
WHOLE = {"d3NumberFormat": ",d"}
FORMATS = {
    **dict.fromkeys(("Subjects", "Days"), WHOLE),
    **dict.fromkeys(("Share", "Lower", "Upper", "Others", "This month", "Month before"), SHARE),
    **dict.fromkeys(("Difference", "From", "To"), DIFFERENCE),
    "q": Q_VALUE,
}
Q = Metric("MIN(q_value)", "q")
_DIFFERENCE = (
    Metric("MAX(difference)", "Difference"),
    Metric("MAX(difference_low)", "From"),
    Metric("MAX(difference_high)", "To"),
    Q,
)


def shares(name: str, feature: str, words: str) -> Chart:
    """The shares of a feature's values with their intervals, as points; ``words`` are those of the axis."""
    return Chart(
        name,
        SHARES,
        "echarts_timeseries_scatter",
        "The middle point is the share, the outer ones its 95 % interval (Wilson); values with at least 30 subjects.",
        (
            Metric("MAX(share_high)", "upper end"),
            Metric("MAX(share)", "share"),
            Metric("MAX(share_low)", "lower end"),
        ),
        x="value",
        where=f"feature = '{feature}' AND subjects >= 30",
        options={"y_axis_format": ".0%", "y_axis_title": "share", "markerSize": 8, "x_axis_title": words}
        | {"xAxisLabelInterval": "0", "xAxisForceCategorical": True},
    )


TESTS = Chart(
    "Which values differ beyond chance?",
    SHARES,
    "table",
    "Each value against all others. Tests know the days; of the rows with q below 0.05 about one in twenty is chance.",
    (
        Metric("MAX(subjects)", "Subjects"),
        Metric("MAX(share)", "Share"),
        Metric("MAX(share_low)", "Lower"),
        Metric("MAX(share_high)", "Upper"),
        Metric("MAX(base_share)", "Others"),
        *_DIFFERENCE,
    ),
    ("feature", "value"),
    options={
        "column_config": FORMATS,
        "server_page_length": 20,
    },
    lowest_first=Q,
    width=12,
    height=60,
)
CHANGED = Chart(
    "What changed this month?",
    CHANGES,
    "table",
    "Each value in the last 30 days against the 30 days before (halves of a shorter archive), with the same tests.",
    (
        Metric("MAX(subjects)", "Subjects"),
        Metric("MAX(base_share)", "Month before"),
        Metric("MAX(share)", "This month"),
        *_DIFFERENCE,
    ),
    ("feature", "value"),
    where="subjects >= 30",
    lowest_first=Q,
    options={"column_config": FORMATS, "server_page_length": 20},
    width=12,
    height=60,
)
DRIFT = Chart(
    "Drift of each feature",
    DRIFTS,
    "echarts_timeseries_bar",
    "Population stability index of this month against the month before: below 0.1 no drift, above 0.25 much.",
    (Metric("MAX(psi)", "PSI"),),
    x="feature",
    where="newest = 1",
    options={"orientation": "horizontal", "y_axis_format": ".2f", "show_value": True, "show_legend": False}
    | {"x_axis_sort": "PSI", "x_axis_sort_asc": True},
    height=110,
)
DRIFT_TABLE = Chart(
    "Drift as of each day",
    DRIFTS,
    "table",
    "The newest figure of each feature, the largest ever, and the days that the newest compares.",
    (
        Metric("MAX_BY(psi, ds)", "Newest PSI"),
        Metric("MAX(psi)", "Largest PSI"),
        Metric("COUNT(DISTINCT ds)", "Times computed"),
        Metric("MAX_BY(month, ds)", "This month"),
        Metric("MAX_BY(month_before, ds)", "Month before"),
    ),
    ("feature",),
    options={
        "column_config": {
            **{name: {"d3NumberFormat": ".3f"} for name in ("Newest PSI", "Largest PSI")},
            "Times computed": WHOLE,
        },
    },
    height=110,
)
