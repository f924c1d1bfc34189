"""What the analysts' dashboards show of hired bikes: the hires of now. Hours and days are UTC."""

from __future__ import annotations

from dataclasses import replace

from dashboard import operations
from dashboard.figures import WHOLE
from dashboard.pages import CALM, GOOD, Own
from dashboard.specs import Chart, Column, Dataset, Filter, Metric, Row, Tab

HOURS = Dataset(
    "Hires by hour",
    "MySQL",
    """
SELECT hour, CONCAT(LPAD(HOUR(hour), 2, '0'), 'h') AS hour_of_day, CAST(ds AS DATETIME) AS day, ds, layer,
  complete_through, city, hired, hired_casual
FROM hourly_stats_now
""",
    (
        Column("hour", "time", "Start of the hour, UTC"),
        Column("hour_of_day", "text", "Hour of the day, UTC"),
        Column("day", "time"),
        Column("ds", "text", "UTC day"),
        Column("layer", "text", "batch: a closed day; speed: the open one"),
        Column("complete_through", "time", "Facts are complete up to here, UTC"),
        Column("city", "text"),
        Column("hired", description="Bikes hired in this hour"),
        Column("hired_casual", description="Of these, by people without a subscription"),
    ),
    "Bikes hired by hour and city: the recent closed days, and the open one as far as it is known",
    "hour",
)
NEWEST_DAY = replace(
    HOURS,
    name="Hires by hour, newest day",
    sql=f"{HOURS.sql}WHERE ds = (SELECT MAX(ds) FROM daily_stats_now)\n",
    description="The same, of the newest day that anything was hired on; it may still be open",
)
HIRED = Metric("SUM(hired)", "Hired")
CASUAL = Metric("SUM(hired_casual) / NULLIF(SUM(hired), 0)", "Without a subscription")
BUSIEST = Metric("MAX(hired)", "Busiest hour")


def _newest_day(name: str, metric: Metric, number_format: str, subheader: str) -> Chart:
    return Chart(
        name,
        NEWEST_DAY,
        "big_number_total",
        subheader,
        (metric,),
        options={"y_axis_format": number_format, "subheader": subheader},
        width=2,
        height=26,
    )


NUMBERS: Row = (
    operations.COMPLETE_THROUGH,
    operations.CLOSED_THROUGH,
    _newest_day("Bikes hired, newest day", HIRED, ",d", "bikes were hired"),
    _newest_day("Casual hires, newest day", CASUAL, ".1%", "without a subscription"),
    _newest_day("Busiest hour, newest day", BUSIEST, ",d", "in the busiest hour"),
)
BY_HOUR = Chart(
    "Bikes hired by hour",
    HOURS,
    "echarts_timeseries_bar",
    "Bikes hired in each hour (UTC), by subscribers and by others.",
    (Metric("SUM(hired) - SUM(hired_casual)", "subscribers"), Metric("SUM(hired_casual)", "others")),
    x="hour",
    options={"stack": "Stack", "y_axis_format": ",d", "y_axis_title": "bikes", "x_axis_time_format": "%b %d %H:%M"},
)
DAYS = Chart(
    "Days: which layer, how complete",
    HOURS,
    "table",
    "Each day's numbers with the layer that counted them: batch has closed days, speed the open one so far.",
    (Metric("MAX(complete_through)", "Complete through (UTC)"), HIRED, CASUAL, BUSIEST),
    ("day", "layer"),
    highest_first=Metric("MAX(day)", "Newest"),
    options={
        "column_config": {
            **dict.fromkeys(("Hired", "Busiest hour"), WHOLE),
            "Without a subscription": {"d3NumberFormat": ".1%"},
        },
    },
)
BY_HOUR_OF_DAY = Chart(
    "Bikes hired by day and hour of the day",
    HOURS,
    "heatmap_v2",
    "Bikes hired, all recent days, hour of the day in UTC (Washington + 5 h in winter).",
    (HIRED,),
    ("ds",),
    x="hour_of_day",
    options={
        "linear_color_scheme": "schemeBlues",
        "y_axis_format": ",d",
        "sort_x_axis": "alpha_asc",
        "sort_y_axis": "alpha_desc",
        "normalize_across": "heatmap",
        "legend_type": "continuous",
        "show_legend": True,
        "show_values": True,
        "xscale_interval": 1,
        "yscale_interval": 1,
        "bottom_margin": "auto",
        "left_margin": 90,
    },
    width=12,
    height=50,
)

OWN = Own(
    now=(Tab("Hires", (NUMBERS, (BY_HOUR, DAYS), (BY_HOUR_OF_DAY,))),),
    about_now="Bikes hired by hour up to now",
    now_filters=(Filter("City", HOURS, "city"),),
    colors={"subscribers": CALM, "others": GOOD},
)
