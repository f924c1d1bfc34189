"""What the analysts' dashboards show of hired bikes: the hires of now. Hours and days are UTC."""

from __future__ import annotations

from dataclasses import replace

from dashboard import operations
from dashboard.charts import HOUR_COLUMNS, HOUR_SQL, big_number, days_by_layer, heatmap_options
from dashboard.figures import WHOLE, number
from dashboard.pages import CALM, GOOD, Own
from dashboard.specs import Chart, Column, Dataset, Filter, Metric, Row, Tab

HOURS = Dataset(
    "Hires by hour",
    "MySQL",
    f"""
SELECT {HOUR_SQL}, city, hired, hired_casual
FROM hourly_stats_now
""",
    (
        *HOUR_COLUMNS,
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

NUMBERS: Row = (
    operations.COMPLETE_THROUGH,
    operations.CLOSED_THROUGH,
    big_number("Bikes hired, newest day", NEWEST_DAY, HIRED, ",d", "bikes were hired"),
    big_number("Casual hires, newest day", NEWEST_DAY, CASUAL, ".1%", "without a subscription"),
    big_number("Busiest hour, newest day", NEWEST_DAY, BUSIEST, ",d", "in the busiest hour"),
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
DAYS = days_by_layer(
    HOURS,
    (HIRED, CASUAL, BUSIEST),
    {"Hired": WHOLE, "Busiest hour": WHOLE, "Without a subscription": number(".1%")},
)
BY_HOUR_OF_DAY = Chart(
    "Bikes hired by day and hour of the day",
    HOURS,
    "heatmap_v2",
    "Bikes hired, all recent days, hour of the day in UTC (Washington + 5 h in winter).",
    (HIRED,),
    ("ds",),
    x="hour_of_day",
    options=heatmap_options("schemeBlues", ",d", 90),
    width=12,
    height=50,
)

OWN = Own(
    now=(Tab("Hires", (NUMBERS, (BY_HOUR, DAYS), (BY_HOUR_OF_DAY,))),),
    about_now="Bikes hired by hour up to now",
    now_filters=(Filter("City", HOURS, "city"),),
    colors={"subscribers": CALM, "others": GOOD},
)
