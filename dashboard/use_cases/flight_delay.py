"""What the analysts' dashboards show of flights: the numbers of now, and the archive.

A flight is late when it leaves or arrives more than 15 minutes after schedule. Hours and days are UTC.
"""

from __future__ import annotations

from dataclasses import replace

from dashboard import operations, statistics
from dashboard.charts import COUNTING, HOUR_COLUMNS, HOUR_SQL, big_number, days_by_layer, heatmap_options
from dashboard.figures import WHOLE, number
from dashboard.pages import BAD, CALM, DARK, GOOD, Own
from dashboard.specs import Chart, Column, Dataset, Filter, Metric, Row, Tab
from include.target import BINARY

LATE_MINUTES = 15
GONE = "#666666"
COLORS = {
    **{"on time": GOOD, "late": BAD, "cancelled": GONE},
    **{"on time, open day": "#ACE1C4", "late, open day": "#FEC0A1", "cancelled, open day": "#A1A6BD"},
    **{"EWR": CALM, "JFK": DARK, "LGA": GOOD},
}
SHARE = number(".1%")

COUNTS = (
    Column("scheduled", description="Flights in the timetable of this hour"),
    Column("departed", description="Flights that left in this hour"),
    Column("departed_late", description="Of these, more than 15 minutes late"),
    Column("arrived", description="Flights that arrived in this hour"),
    Column("arrived_late", description="Of these, more than 15 minutes late"),
    Column("cancelled", description="Flights scheduled for this hour and cancelled"),
    Column("departure_delay", description="Sum of departure delays, minutes"),
    Column("arrival_delay", description="Sum of arrival delays, minutes"),
)
SUMS = """departed, departed_late, arrived, arrived_late, cancelled,
  mean_departure_delay * departed AS departure_delay, mean_arrival_delay * arrived AS arrival_delay"""

HOURS = Dataset(
    "Flights by hour",
    "MySQL",
    f"""
SELECT {HOUR_SQL}, origin AS airport, scheduled, {SUMS}
FROM hourly_stats_now
""",
    (
        *HOUR_COLUMNS,
        Column("airport", "text", "Airport of departure"),
        *COUNTS,
    ),
    "Flights by hour and airport of departure: the recent closed days, and the open one as far as it is known",
    "hour",
)
LAST_DAYS = replace(
    HOURS,
    name="Flights by hour, last three days",
    sql=f"{HOURS.sql}JOIN (SELECT MAX(hour) AS newest FROM hourly_stats_now WHERE departed > 0) n\n"
    "  ON hour BETWEEN newest - INTERVAL 72 HOUR AND newest\n",
    description="The same, of the last 72 hours with departures",
)
NEWEST_DAY = replace(
    HOURS,
    name="Flights by hour, newest day",
    sql=f"{HOURS.sql}WHERE ds = (SELECT MAX(ds) FROM daily_stats_now WHERE departed > 0)\n",
    description="The same, of the newest day that anything has left on; it may still be open",
)
CARRIERS = Dataset(
    "Flights by day and carrier",
    "MySQL",
    f"SELECT CAST(ds AS DATETIME) AS day, origin AS airport, carrier, scheduled, {SUMS} FROM daily_stats_now",
    (Column("day", "time"), Column("airport", "text"), Column("carrier", "text", "Airline"), *COUNTS),
    "Flights by day, airport of departure and airline: the recent closed days and the open one",
    "day",
)

DEPARTED, CANCELLED = Metric("SUM(departed)", "Departed"), Metric("SUM(cancelled)", "Cancelled")
LATE_SHARE = Metric("SUM(departed_late) / NULLIF(SUM(departed), 0)", "Departed late")
ARRIVED_LATE = Metric("SUM(arrived_late) / NULLIF(SUM(arrived), 0)", "Arrived late")
MEAN_DELAY = Metric("SUM(departure_delay) / NULLIF(SUM(departed), 0)", "Mean delay, min")

NUMBERS: Row = (
    operations.COMPLETE_THROUGH,
    operations.CLOSED_THROUGH,
    big_number("Departures, newest day", NEWEST_DAY, DEPARTED, ",d", "flights have left"),
    big_number("Late departures, newest day", NEWEST_DAY, LATE_SHARE, ".1%", "more than 15 minutes late"),
    big_number("Mean delay, newest day", NEWEST_DAY, MEAN_DELAY, ".1f", "minutes after schedule"),
)
DAYS = days_by_layer(
    HOURS,
    (DEPARTED, LATE_SHARE, MEAN_DELAY, ARRIVED_LATE, CANCELLED),
    {
        "Departed": WHOLE,
        "Departed late": SHARE,
        "Mean delay, min": number(".1f"),
        "Arrived late": SHARE,
        "Cancelled": WHOLE,
    },
    where="departed > 0 OR cancelled > 0",
)
DELAY_LINES = Chart(
    "Mean departure delay by airport and hour",
    LAST_DAYS,
    "echarts_timeseries_line",
    "Minutes after schedule, of the flights that left in each hour (UTC). Negative: early.",
    (MEAN_DELAY,),
    ("airport",),
    x="hour",
    options={"y_axis_format": ".0f", "y_axis_title": "minutes", "x_axis_time_format": "%b %d %H:%M"},
    width=6,
)
AIRPORTS = Chart(
    "Airports, newest day",
    NEWEST_DAY,
    "table",
    "The newest day by airport of departure, so far: complete up to the time in the first number of this page.",
    (DEPARTED, LATE_SHARE, MEAN_DELAY, ARRIVED_LATE, CANCELLED),
    ("airport", "layer"),
    options={
        "column_config": {
            "Departed": WHOLE,
            "Departed late": SHARE,
            "Mean delay, min": number(".1f"),
            "Arrived late": SHARE,
            "Cancelled": WHOLE,
        }
    },
    width=6,
)
LATE_MAP = Chart(
    "Late departures by airport and hour of the day",
    HOURS,
    "heatmap_v2",
    "Share of the departures more than 15 minutes late, all recent days, hour of the day in UTC (New York + 5 h).",
    (LATE_SHARE,),
    ("airport",),
    x="hour_of_day",
    where="departed > 0",
    options=heatmap_options("schemeOranges", ".0%", 50),
    width=12,
    height=40,
)


def _outcomes(layer: str, suffix: str) -> tuple[Metric, ...]:
    """Flights by what became of them, as one layer counted them."""
    return tuple(
        Metric(f"SUM(CASE WHEN layer = '{layer}' THEN {count} ELSE 0 END)", name + suffix)
        for name, count in (
            ("on time", "departed - departed_late"),
            ("late", "departed_late"),
            ("cancelled", "cancelled"),
        )
    )


FLIGHTS_BY_HOUR = Chart(
    "Flights by hour: on time, late, cancelled",
    LAST_DAYS,
    "echarts_timeseries_bar",
    "Flights that left in each hour (UTC), and those scheduled for it and cancelled. Pale: the open day, so far.",
    (
        *_outcomes("batch", ""),
        *_outcomes("speed", ", open day"),
    ),
    x="hour",
    options={"stack": "Stack", "y_axis_format": ",d", "y_axis_title": "flights", "x_axis_time_format": "%b %d %H:%M"},
)
CARRIER_BARS = Chart(
    "Late arrivals by airline",
    CARRIERS,
    "table",
    "Recent days and the open one, by airline.",
    (DEPARTED, LATE_SHARE, ARRIVED_LATE, MEAN_DELAY, CANCELLED),
    ("carrier",),
    options={
        "show_cell_bars": True,
        "column_config": {
            "Departed": WHOLE,
            "Departed late": SHARE,
            "Arrived late": SHARE,
            "Mean delay, min": number(".1f"),
            "Cancelled": WHOLE,
        },
    },
    width=12,
)

NOW = Tab(
    "Flights",
    (NUMBERS, (DELAY_LINES, AIRPORTS), (FLIGHTS_BY_HOUR, DAYS), (LATE_MAP,), (CARRIER_BARS,)),
)

ARCHIVE_DAYS = Dataset(
    "Archive by day",
    "Hive",
    f"""
SELECT day, origin AS airport, carrier, SUM(departed) AS departed, SUM(late) AS departed_late,
  SUM(delay) AS departure_delay, SUM(cancelled) AS cancelled
FROM (
  SELECT DATE_TRUNC('DAY', scheduled_departure) AS day, origin, carrier, 1 AS departed,
    IF(departure_delay > {LATE_MINUTES}, 1, 0) AS late, departure_delay AS delay, 0 AS cancelled
    FROM raw_departures WHERE {COUNTING}
  UNION ALL
  SELECT DATE_TRUNC('DAY', scheduled_departure), origin, carrier, 0, 0, 0, 1
    FROM raw_cancellations WHERE {COUNTING}) flights
WHERE day <= (SELECT TO_TIMESTAMP(MAX(ds)) FROM raw_departures)
GROUP BY day, origin, carrier
""",
    (
        Column("day", "time", "Day of scheduled departure, UTC"),
        Column("airport", "text"),
        Column("carrier", "text"),
        Column("departed"),
        Column("departed_late"),
        Column("departure_delay", description="Sum of delays, minutes"),
        Column("cancelled"),
    ),
    "Every flight that counts, by day, airport of departure and airline",
    "day",
)
BY_DESTINATION = Dataset(
    "Destinations",
    "Hive",
    f"""
SELECT dest AS destination, COUNT(*) AS flights, AVG(arrival_delay) AS mean_delay,
  AVG(IF(arrival_delay > {LATE_MINUTES}, 1.0, 0.0)) AS share, PERCENTILE_APPROX(arrival_delay, 0.9) AS p90
FROM raw_arrivals WHERE {COUNTING} GROUP BY dest
""",
    (
        Column("destination", "text"),
        Column("flights"),
        Column("mean_delay", description="Minutes"),
        Column("share", description="Arrived more than 15 minutes late"),
        Column("p90", description="Nine of ten flights were less late than so many minutes"),
    ),
    "Arrivals by destination",
)

ARCHIVE_NUMBERS: Row = (
    big_number(
        "Flights in the archive",
        ARCHIVE_DAYS,
        DEPARTED,
        ",d",
        "departures, all days",
        description="departed, all days",
        width=4,
        height=22,
    ),
    big_number(
        "Late in the archive",
        ARCHIVE_DAYS,
        LATE_SHARE,
        ".1%",
        "departed more than 15 minutes late",
        width=4,
        height=22,
    ),
    big_number(
        "Cancelled in the archive",
        ARCHIVE_DAYS,
        Metric("SUM(cancelled) / (SUM(departed) + SUM(cancelled))", "Cancelled"),
        ".2%",
        "of all flights were cancelled",
        description="of the flights that departed or were cancelled",
        width=4,
        height=22,
    ),
)
ARCHIVE_LATE = Chart(
    "Late departures by day, the whole archive",
    ARCHIVE_DAYS,
    "echarts_timeseries_line",
    "Share of the departures more than 15 minutes late, by day of scheduled departure (UTC) and airport.",
    (LATE_SHARE,),
    ("airport",),
    x="day",
    options={"y_axis_format": ".0%", "y_axis_title": "share late", "x_axis_time_format": "%b %d"},
    width=12,
)
ARCHIVE_FLIGHTS = Chart(
    "Flights by day, the whole archive",
    ARCHIVE_DAYS,
    "echarts_timeseries_bar",
    "Departed on time, departed late, cancelled.",
    (
        Metric("SUM(departed) - SUM(departed_late)", "on time"),
        Metric("SUM(departed_late)", "late"),
        Metric("SUM(cancelled)", "cancelled"),
    ),
    x="day",
    options={"stack": "Stack", "y_axis_format": ",d", "y_axis_title": "flights", "x_axis_time_format": "%b %d"},
    width=12,
)
DESTINATIONS = Chart(
    "Destinations by flights",
    BY_DESTINATION,
    "table",
    "The busiest destinations: mean delay, share late, and the delay that nine of ten flights stay below.",
    (
        Metric("MAX(flights)", "Flights"),
        Metric("MAX(share)", "Arrived late"),
        Metric("MAX(mean_delay)", "Mean delay, min"),
        Metric("MAX(p90)", "p90, min"),
    ),
    ("destination",),
    options={
        "column_config": {
            "Flights": WHOLE,
            "Arrived late": SHARE,
            "Mean delay, min": number(".1f"),
            "p90, min": number(".0f"),
        },
    },
    width=12,
)
YEAR = Tab("Year", (ARCHIVE_NUMBERS, (ARCHIVE_LATE,), (ARCHIVE_FLIGHTS,), (DESTINATIONS,)))
BEYOND_CHANCE: Row = (
    statistics.levels(BINARY, "Late, cancelled or diverted, by airline", "carrier", "airline"),
    statistics.levels(BINARY, "The same by local hour", "hour_of_day", "hour of departure, New York"),
)

OWN = Own(
    now=(NOW,),
    about_now="Delays by airport and hour up to now",
    now_filters=(Filter("Airport", HOURS, "airport"),),
    archive=(YEAR,),
    about_archive="The whole history of flights",
    archive_filters=(Filter("Airport", ARCHIVE_DAYS, "airport"),),
    beyond_chance=(BEYOND_CHANCE,),
    colors=COLORS,
)
