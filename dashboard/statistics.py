"""Statistics of the archive as `compute_statistics` has computed them: shares, tests, change, drift. Knows no domain.

Nothing is computed here: intervals and tests know the days (docs/statistics.md), and a chart's SQL could not.
"""

from __future__ import annotations

from dashboard.figures import WHOLE, Format, difference_format, level, level_format, number
from dashboard.specs import Chart, Column, Dataset, Metric, Row, Tab, Text
from include.target import Target

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
    Column("positives", description="Sum of the labels: those for whom the event happened, or how many there were"),
    Column("share", description="positives / subjects; of counts the mean"),
    Column("share_low", description="Lower end of the share's 95 % interval (Wilson); empty for counts"),
    Column("share_high", description="Upper end of the share's 95 % interval; empty for counts"),
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

Q_VALUE = number(".2~g")
Q = Metric("MIN(q_value)", "q")
_DIFFERENCE = (
    Metric("MAX(difference)", "Difference"),
    Metric("MAX(difference_low)", "From"),
    Metric("MAX(difference_high)", "To"),
    Q,
)


def _formats(target: Target) -> dict[str, Format]:
    levels = ("Share", "Mean", "Lower", "Upper", "Others", "This month", "Month before")
    return {
        **dict.fromkeys(("Subjects", "Days"), WHOLE),
        **dict.fromkeys(levels, number(level_format(target))),
        **dict.fromkeys(("Difference", "From", "To"), number(difference_format(target))),
        "q": Q_VALUE,
    }


def _interval(target: Target, lower: str, upper: str) -> tuple[Metric, ...]:
    """The ends of a share's interval (Wilson); a mean of counts has none."""
    if target.kind == "count":
        return ()
    return Metric("MAX(share_low)", lower), Metric("MAX(share_high)", upper)


def levels(target: Target, name: str, feature: str, words: str) -> Chart:
    """The share (of counts: the mean) of each of a feature's values, as points; ``words`` are those of the axis."""
    word = level(target)
    interval = _interval(target, "lower end", "upper end")
    about = ": the middle point, between the ends of its 95 % interval (Wilson)" if interval else ""
    return Chart(
        name,
        SHARES,
        "echarts_timeseries_scatter",
        f"The {word} of the labels{about}; values with at least 30 subjects.",
        (Metric("MAX(share)", word), *interval),
        x="value",
        where=f"feature = '{feature}' AND subjects >= 30",
        options={"y_axis_format": level_format(target, places=0), "y_axis_title": word, "markerSize": 8}
        | {"x_axis_title": words, "xAxisLabelInterval": "0", "xAxisForceCategorical": True},
    )


def tests(target: Target) -> Chart:
    """Every value of every feature against all others."""
    return Chart(
        "Which values differ beyond chance?",
        SHARES,
        "table",
        "Each value against all others. Tests know the days; of the rows with q below 0.05 one in twenty is chance.",
        (
            Metric("MAX(subjects)", "Subjects"),
            Metric("MAX(share)", level(target).capitalize()),
            *_interval(target, "Lower", "Upper"),
            Metric("MAX(base_share)", "Others"),
            *_DIFFERENCE,
        ),
        ("feature", "value"),
        options={"column_config": _formats(target), "server_page_length": 20},
        lowest_first=Q,
        width=12,
        height=60,
    )


def changed(target: Target) -> Chart:
    """Every value of every feature against itself a month before."""
    return Chart(
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
        options={"column_config": _formats(target), "server_page_length": 20},
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
            **{name: number(".3f") for name in ("Newest PSI", "Largest PSI")},
            "Times computed": WHOLE,
        },
    },
    height=110,
)

CHANCE_NOTE = """
Asked of **Hive**: the first look takes seconds, then the answers are kept for an hour. The statistics are computed by
`compute_statistics` whenever labels have closed: 95 % intervals (Wilson, of shares), tests with days as clusters, and
**q**, the p-value after Benjamini and Hochberg. A difference is association, not cause: values differ in other things
too.
"""
DRIFT_NOTE = """
The last 30 days with known outcomes beside the 30 days before; an archive shorter than two months is halved.
**PSI** (population stability index): below 0.1 no drift, above 0.25 much. A season that changes drifts too.
"""


def beyond_chance(target: Target, rows: tuple[Row, ...]) -> Tab:
    """Whether differences are more than chance; ``rows`` show some features' values."""
    return Tab("Beyond chance", ((Text(CHANCE_NOTE, height=18),), *rows, (tests(target),)))


def drift(target: Target) -> Tab:
    """What is not as it was a month ago."""
    return Tab("Change and drift", ((Text(DRIFT_NOTE, height=14),), (changed(target),), (DRIFT, DRIFT_TABLE)))
