"""The analysts' dashboards of flight delays: what is shown of flights, and the four pages in their order.

A flight is late when it leaves or arrives more than 15 minutes after schedule. Hours and days are UTC.
"""

from __future__ import annotations

from dataclasses import replace

from dashboard import data_quality, model_history, operations
from dashboard.specs import Chart, Column, Dashboard, Dataset, Filter, Metric, Row, Tab, Text

SCHEMA = "flight_delay"
SOURCES = ("schedule", "departures", "arrivals", "cancellations", "weather")
LATE_MINUTES = 15
GOOD, BAD, GONE, CALM = "#5AC189", "#FF7F44", "#666666", "#1FA8C9"
COLORS = {
    **{"on time": GOOD, "late": BAD, "cancelled": GONE},
    **{"Ingested": GOOD, "Quarantined": "#E04355", "Duplicate": "#FCC700"},
    **{"network": CALM, "LightGBM": GOOD, "base rate": "#A1A6BD", "champion before": "#454E7C"},
    **{"predicted": CALM, "observed": BAD, "complete": GOOD, "degraded": BAD},
    **{"lower end": "#A1A6BD", "share late": BAD, "upper end": "#A1A6BD"},
    **{"EWR": CALM, "JFK": "#454E7C", "LGA": GOOD},
}
SHARE = {"d3NumberFormat": ".1%"}
WHOLE = {"d3NumberFormat": ",d"}

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
SELECT hour, CONCAT(LPAD(HOUR(hour), 2, '0'), 'h') AS hour_of_day, ds, origin AS airport, scheduled, {SUMS}
FROM hourly_stats
""",
    (
        Column("hour", "time", "Start of the hour, UTC"),
        Column("hour_of_day", "text", "Hour of the day, UTC"),
        Column("ds", "text", "UTC day"),
        Column("airport", "text", "Airport of departure"),
        *COUNTS,
    ),
    "Flights by hour and airport of departure, recent days",
    "hour",
)
LAST_DAYS = replace(
    HOURS,
    name="Flights by hour, last three days",
    sql=f"{HOURS.sql}WHERE hour >= (SELECT MAX(hour) FROM hourly_stats WHERE departed > 0) - INTERVAL 72 HOUR\n"
    "  AND hour <= (SELECT MAX(hour) FROM hourly_stats WHERE departed > 0)\n",
    description="The same, of the last 72 hours with departures",
)
LAST_DAY = replace(
    HOURS,
    name="Flights by hour, last day",
    sql=f"{HOURS.sql}WHERE ds = (SELECT MAX(ds) FROM hourly_stats WHERE departed > 0)\n",
    description="The same, of the last complete day",
)
CARRIERS = Dataset(
    "Flights by day and carrier",
    "MySQL",
    f"SELECT CAST(ds AS DATETIME) AS day, origin AS airport, carrier, scheduled, {SUMS} FROM daily_stats",
    (Column("day", "time"), Column("airport", "text"), Column("carrier", "text", "Airline"), *COUNTS),
    "Flights by day, airport of departure and airline, recent days",
    "day",
)

DEPARTED, CANCELLED = Metric("SUM(departed)", "Departed"), Metric("SUM(cancelled)", "Cancelled")
LATE_SHARE = Metric("SUM(departed_late) / NULLIF(SUM(departed), 0)", "Departed late")
ARRIVED_LATE = Metric("SUM(arrived_late) / NULLIF(SUM(arrived), 0)", "Arrived late")
MEAN_DELAY = Metric("SUM(departure_delay) / NULLIF(SUM(departed), 0)", "Mean delay, min")


def _last_day(name: str, metric: Metric, number_format: str, subheader: str) -> Chart:
    return Chart(
        name,
        LAST_DAY,
        "big_number_total",
        subheader,
        (metric,),
        options={"y_axis_format": number_format, "subheader": subheader},
        width=3,
        height=22,
    )


NUMBERS: Row = (
    operations.COMPLETE_THROUGH,
    _last_day("Departures, last day", DEPARTED, ",d", "flights left the gate"),
    _last_day("Late departures, last day", LATE_SHARE, ".1%", "left more than 15 minutes late"),
    _last_day("Mean delay, last day", MEAN_DELAY, ".1f", "minutes after scheduled departure"),
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
    width=7,
)
AIRPORTS = Chart(
    "Airports, last day",
    LAST_DAY,
    "table",
    "The last complete day by airport of departure.",
    (DEPARTED, LATE_SHARE, MEAN_DELAY, ARRIVED_LATE, CANCELLED),
    ("airport",),
    options={
        "column_config": {
            "Departed": WHOLE,
            "Departed late": SHARE,
            "Mean delay, min": {"d3NumberFormat": ".1f"},
            "Arrived late": SHARE,
            "Cancelled": WHOLE,
        }
    },
    width=5,
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
    options={
        "linear_color_scheme": "schemeOranges",
        "y_axis_format": ".0%",
        "sort_x_axis": "alpha_asc",
        "sort_y_axis": "alpha_desc",
        "normalize_across": "heatmap",
        "legend_type": "continuous",
        "show_legend": True,
        "show_values": True,
        "xscale_interval": 1,
        "yscale_interval": 1,
        "bottom_margin": "auto",
        "left_margin": 50,
    },
    width=12,
    height=40,
)
FLIGHTS_BY_HOUR = Chart(
    "Flights by hour: on time, late, cancelled",
    LAST_DAYS,
    "echarts_timeseries_bar",
    "Flights that left in each hour (UTC), and those scheduled for it and cancelled.",
    (
        Metric("SUM(departed) - SUM(departed_late)", "on time"),
        Metric("SUM(departed_late)", "late"),
        Metric("SUM(cancelled)", "cancelled"),
    ),
    x="hour",
    options={"stack": "Stack", "y_axis_format": ",d", "y_axis_title": "flights", "x_axis_time_format": "%b %d %H:%M"},
)
CARRIER_BARS = Chart(
    "Late arrivals by airline",
    CARRIERS,
    "table",
    "Recent days, by airline.",
    (DEPARTED, LATE_SHARE, ARRIVED_LATE, MEAN_DELAY, CANCELLED),
    ("carrier",),
    options={
        "show_cell_bars": True,
        "column_config": {
            "Departed": WHOLE,
            "Departed late": SHARE,
            "Arrived late": SHARE,
            "Mean delay, min": {"d3NumberFormat": ".1f"},
            "Cancelled": WHOLE,
        },
    },
)

OPERATIONS = Dashboard(
    "Operations now",
    "operations-now",
    "Delays by airport and hour, live quality of the predictions, speed, freshness. From MySQL.",
    (
        Tab(
            "Flights",
            (NUMBERS, (DELAY_LINES, AIRPORTS), (LATE_MAP,), (FLIGHTS_BY_HOUR, CARRIER_BARS)),
        ),
        Tab(
            "Predictions",
            (
                (operations.LIVE_AUC, operations.CALIBRATION),
                (operations.ANSWERS, operations.LATENCY_BARS),
                (operations.LATENCY_TABLE, operations.LIVE_FIGURES),
            ),
        ),
        Tab("Freshness", ((replace(operations.TABLES, width=12, height=60),),)),
    ),
    (Filter("Airport", HOURS, "airport"),),
    colors=COLORS,
    refresh_seconds=300,
)

DRIFTING = (
    *("origin_departed_1h_delay_mean", "origin_departed_3h_late_rate", "carrier_departed_24h_late_rate"),
    *("origin_queue_3h", "previous_departure_delay", "weather_visibility_mi", "weather_wind_speed_mph", "rain_3h"),
)
DRIFT_DATA = Dataset(
    "Drift of inputs",
    "Hive",
    f"""
SELECT to_timestamp(d.ds) AS day, d.feature, d.mean, d.missing, (d.mean - a.mean) / NULLIF(a.deviation, 0) AS shift
FROM (SELECT ds, feature, AVG(value) AS mean, AVG(IF(value IS NULL, 1, 0)) AS missing
  FROM (SELECT ds, STACK({len(DRIFTING)}, {", ".join(f"'{name}', {name}" for name in DRIFTING)}) AS (feature, value)
    FROM features) x GROUP BY ds, feature) d
JOIN (SELECT feature, AVG(value) AS mean, STDDEV(value) AS deviation
  FROM (SELECT STACK({len(DRIFTING)}, {", ".join(f"'{name}', {name}" for name in DRIFTING)}) AS (feature, value)
    FROM features) y GROUP BY feature) a ON a.feature = d.feature
""",
    (
        Column("day", "time"),
        Column("feature", "text"),
        Column("mean", description="Mean of the day"),
        Column("missing", description="Share of the flights for which it is missing"),
        Column("shift", description="Mean of the day less that of all days, in standard deviations of a flight"),
    ),
    "How far each day's inputs lie from those of all days",
    "day",
)
DRIFT = Chart(
    "Drift of inputs: shift of the day's mean",
    DRIFT_DATA,
    "echarts_timeseries_line",
    "The day's mean less that of all days, in standard deviations. Beyond 0.5 the model sees unusual days.",
    (Metric("AVG(shift)", "Shift"),),
    ("feature",),
    x="day",
    options={"y_axis_format": ".2f", "y_axis_title": "standard deviations", "x_axis_time_format": "%b %d"},
    width=12,
    height=60,
)
DRIFT_TABLE = Chart(
    "Inputs that moved most",
    DRIFT_DATA,
    "table",
    "Per input: the largest shift of a day, and the share of flights without it.",
    (
        Metric("MAX(ABS(shift))", "Largest shift"),
        Metric("MAX_BY(shift, day)", "Newest shift"),
        Metric("AVG(missing)", "Missing"),
        Metric("MAX(missing)", "Missing, worst day"),
    ),
    ("feature",),
    options={
        "column_config": {
            "Largest shift": {"d3NumberFormat": ".2f"},
            "Newest shift": {"d3NumberFormat": "+.2f"},
            "Missing": SHARE,
            "Missing, worst day": SHARE,
        }
    },
    width=12,
)

MODELS = Dashboard(
    "Model history",
    "model-history",
    "Quality by version and night, promotions and rollbacks, the search, drift of inputs.",
    (
        Tab("Quality", model_history.QUALITY_ROWS),
        Tab("Search", model_history.SEARCH_ROWS),
        Tab("Drift of inputs", ((DRIFT,), (DRIFT_TABLE,))),
    ),
    colors=COLORS,
)

DATA = Dashboard(
    "Data quality",
    "data-quality",
    "What landed and what became of it, validity, parity of the layers, books.",
    (Tab("Data quality", data_quality.rows(SOURCES)),),
    colors=COLORS,
)

ARCHIVE_DAYS = Dataset(
    "Archive by day",
    "Hive",
    f"""
SELECT day, origin AS airport, carrier, SUM(departed) AS departed, SUM(late) AS departed_late,
  SUM(delay) AS departure_delay, SUM(cancelled) AS cancelled
FROM (
  SELECT DATE_TRUNC('DAY', scheduled_departure) AS day, origin, carrier, 1 AS departed,
    IF(departure_delay > {LATE_MINUTES}, 1, 0) AS late, departure_delay AS delay, 0 AS cancelled FROM raw_departures
  UNION ALL
  SELECT DATE_TRUNC('DAY', scheduled_departure), origin, carrier, 0, 0, 0, 1 FROM raw_cancellations) flights
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
    "Every flight ever ingested, by day, airport of departure and airline",
    "day",
)
#: Wilson's score interval: right for shares near 0 and 1, and for few flights. 1.96: 95 %.
BY_CARRIER = Dataset(
    "Carriers with intervals",
    "Hive",
    f"""
SELECT carrier, flights, late, share,
  (share + 1.9208 / flights - 1.96 * SQRT(share * (1 - share) / flights + 0.9604 / (flights * flights)))
    / (1 + 3.8416 / flights) AS lower,
  (share + 1.9208 / flights + 1.96 * SQRT(share * (1 - share) / flights + 0.9604 / (flights * flights)))
    / (1 + 3.8416 / flights) AS upper,
  (share - (all_late - late) / (all_flights - flights))
    / SQRT(all_late / all_flights * (1 - all_late / all_flights) * (1 / flights + 1 / (all_flights - flights))) AS z
FROM (
  SELECT carrier, flights, late, late / flights AS share, SUM(flights) OVER () AS all_flights,
    SUM(late) OVER () AS all_late
  FROM (SELECT carrier, COUNT(*) AS flights, SUM(IF(arrival_delay > {LATE_MINUTES}, 1, 0)) AS late
    FROM raw_arrivals GROUP BY carrier) counted) shares
""",
    (
        Column("carrier", "text"),
        Column("flights", description="Arrivals"),
        Column("late", description="Arrived more than 15 minutes late"),
        Column("share"),
        Column("lower", description="95 % interval, lower end (Wilson)"),
        Column("upper", description="95 % interval, upper end"),
        Column("z", description="Against all other airlines, in standard errors; beyond ±3 is no chance"),
    ),
    "Share of late arrivals by airline, with a 95 % interval and a test against the others",
)
BY_HOUR = Dataset(
    "Local hours",
    "Hive",
    """
SELECT LPAD(CAST(CAST(f.hour_of_day AS INT) AS STRING), 2, '0') AS local_hour, f.origin AS airport, COUNT(*) AS flights,
  SUM(l.label) AS late
FROM features f JOIN labels l ON l.subject_id = f.subject_id AND l.ds = f.ds
GROUP BY 1, 2
""",
    (
        Column("local_hour", "text", "Hour of scheduled departure in New York"),
        Column("airport", "text"),
        Column("flights"),
        Column("late", description="Arrived more than 15 minutes late, cancelled or diverted"),
    ),
    "Outcomes by local hour of scheduled departure: the labels that the model learns",
)
BY_DESTINATION = Dataset(
    "Destinations",
    "Hive",
    f"""
SELECT dest AS destination, COUNT(*) AS flights, AVG(arrival_delay) AS mean_delay,
  AVG(IF(arrival_delay > {LATE_MINUTES}, 1.0, 0.0)) AS share, PERCENTILE_APPROX(arrival_delay, 0.9) AS p90
FROM raw_arrivals GROUP BY dest
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
STANDING = Metric("SUM(late) / SUM(flights)", "Share late")

ARCHIVE_NUMBERS: Row = (
    Chart(
        "Flights in the archive",
        ARCHIVE_DAYS,
        "big_number_total",
        "departed, all days",
        (DEPARTED,),
        options={"y_axis_format": ",d", "subheader": "departures, all days"},
        width=4,
        height=22,
    ),
    Chart(
        "Late in the archive",
        ARCHIVE_DAYS,
        "big_number_total",
        "departed more than 15 minutes late",
        (LATE_SHARE,),
        options={"y_axis_format": ".1%", "subheader": "departed more than 15 minutes late"},
        width=4,
        height=22,
    ),
    Chart(
        "Cancelled in the archive",
        ARCHIVE_DAYS,
        "big_number_total",
        "of the flights that departed or were cancelled",
        (Metric("SUM(cancelled) / (SUM(departed) + SUM(cancelled))", "Cancelled"),),
        options={"y_axis_format": ".2%", "subheader": "of all flights were cancelled"},
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
CARRIER_POINTS = Chart(
    "Late arrivals by airline, with 95 % intervals",
    BY_CARRIER,
    "echarts_timeseries_scatter",
    "The middle point is the share, the outer ones its 95 % interval; airlines with at least 30 flights.",
    (Metric("MAX(upper)", "upper end"), Metric("MAX(share)", "share late"), Metric("MAX(lower)", "lower end")),
    x="carrier",
    where="flights >= 30",
    options={"y_axis_format": ".0%", "y_axis_title": "share late", "markerSize": 8, "x_axis_title": "airline"}
    | {"xAxisLabelInterval": "0"},
)
CARRIER_TEST = Chart(
    "Does an airline differ beyond chance?",
    BY_CARRIER,
    "table",
    "z compares an airline with all others together; with 16 airlines tested, |z| above 3 is hardly chance.",
    (
        Metric("MAX(flights)", "Flights"),
        Metric("MAX(share)", "Share late"),
        Metric("MAX(lower)", "Lower"),
        Metric("MAX(upper)", "Upper"),
        Metric("MAX(z)", "z"),
    ),
    ("carrier",),
    options={
        "column_config": {
            "Flights": WHOLE,
            "Share late": SHARE,
            "Lower": SHARE,
            "Upper": SHARE,
            "z": {"d3NumberFormat": "+.1f"},
        }
    },
)
LOCAL_HOURS = Chart(
    "Late by local hour of departure",
    BY_HOUR,
    "echarts_timeseries_bar",
    "Share of the flights that arrived late, were cancelled or diverted, by scheduled hour in New York.",
    (STANDING,),
    x="local_hour",
    options={"y_axis_format": ".0%", "y_axis_title": "share late", "x_axis_title": "hour, New York"},
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
            "Mean delay, min": {"d3NumberFormat": ".1f"},
            "p90, min": {"d3NumberFormat": ".0f"},
        },
    },
)
ARCHIVE = Dashboard(
    "Archive",
    "archive",
    "The whole history of flights, and whether differences are more than chance. From Hive, answered by Spark.",
    (
        Tab("Year", (ARCHIVE_NUMBERS, (ARCHIVE_LATE,), (ARCHIVE_FLIGHTS,))),
        Tab(
            "Beyond chance",
            (
                (Text("Asked of **Hive**: the first look takes seconds, then the answers are kept for an hour."),),
                (CARRIER_POINTS, CARRIER_TEST),
                (LOCAL_HOURS, DESTINATIONS),
            ),
        ),
    ),
    (Filter("Airport", ARCHIVE_DAYS, "airport"),),
    colors=COLORS,
)

DASHBOARDS = (OPERATIONS, MODELS, DATA, ARCHIVE)
