"""What good facts about flights are, beyond their contracts: delays that follow from the times, ids from the fields.

Declarations only (Spark SQL conditions on one fact). The thresholds are those below which no model should be trained;
every day of 2013 passes them (tests/use_cases/test_flight_quality.py).
"""

from include.use_case import Quality

IDENTITY = "id = concat_ws('-', carrier, flight, origin, date_format(scheduled_departure, \"yyyyMMdd'T'HHmm'Z'\"))"

QUALITY = Quality(
    accuracy={
        "schedule": f"{IDENTITY} AND scheduled_arrival > scheduled_departure",
        "departures": "departure_delay * 60 = unix_seconds(actual_departure) - unix_seconds(scheduled_departure)",
        "arrivals": "arrival_delay * 60 = unix_seconds(actual_arrival) - unix_seconds(scheduled_arrival)",
        "cancellations": IDENTITY,
        # Air cannot be colder than its dew point; instruments round.
        "weather": "dew_point_f <= temperature_f + 1",
    },
    about_subjects=("departures", "arrivals", "cancellations"),
    # A flight is often cancelled before it has an aircraft; an hour without a gust has none to report.
    empty_says={"cancellations": ("tailnum",), "weather": ("wind_gust_mph",)},
    timely_hours=24,
    thresholds={"validity": 0.95, "accuracy": 0.95, "consistency": 0.95, "completeness": 0.5, "accessibility": 1.0},
)
