"""The features of a flight an hour before it is scheduled to leave.

Row-local NumPy over the subject's fields, the references and the windows; missing is NaN or None. It does not know
whether one query or a year of them is computed. A name that ends in ``_rate`` is a share, ``_mean`` minutes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.features.spec import Columns, Feature, FeatureSet
from include.use_cases.flight_delay.references import REFERENCES
from include.use_cases.flight_delay.windows import WEATHER_SCALES, WINDOWS

Numbers = NDArray[np.float64]
Times = NDArray[np.datetime64]

#: Window prefix -> the words for what it covers. Each has a count, a mean delay and a late rate.
DELAY_WINDOWS = {
    "origin_departed_1h": "departures from the origin, last hour",
    "origin_departed_3h": "departures from the origin, last 3 hours",
    "origin_departed_24h": "departures from the origin, last 24 hours",
    "carrier_departed_3h": "the carrier's departures, last 3 hours",
    "carrier_departed_24h": "the carrier's departures, last 24 hours",
    "origin_carrier_departed_1h": "the carrier's departures from the origin, last hour",
    "origin_carrier_departed_3h": "the carrier's departures from the origin, last 3 hours",
    "origin_carrier_departed_24h": "the carrier's departures from the origin, last 24 hours",
    "dest_departed_3h": "departures to the destination, last 3 hours",
    "origin_arrived_3h": "arrivals of flights from the origin, last 3 hours",
    "dest_arrived_3h": "arrivals at the destination, last 3 hours",
    "dest_arrived_24h": "arrivals at the destination, last 24 hours",
    "carrier_arrived_3h": "the carrier's arrivals, last 3 hours",
    "flight_arrived_7d": "arrivals of this flight number, last 7 days",
    "route_arrived_7d": "arrivals on this route, last 7 days",
}
QUEUE_GROUPS = {"origin": "at the origin", "origin_carrier": "of the carrier at the origin"}
QUEUE_SPANS = ("3h", "24h")


def _numeric(name: str, comment: str) -> Feature:
    return Feature(name, "numeric", comment)


def _delay_features(prefix: str, words: str) -> tuple[Feature, ...]:
    return (
        _numeric(f"{prefix}_delay_mean", f"Mean delay in minutes: {words}"),
        _numeric(f"{prefix}_late_rate", f"Share more than 15 minutes late: {words}"),
    )


FEATURES = (
    *(feature for prefix, words in DELAY_WINDOWS.items() for feature in _delay_features(prefix, words)),
    *(
        _numeric(f"{group}_queue_{span}", f"Scheduled but neither departed nor cancelled {words}, last {span}")
        for group, words in QUEUE_GROUPS.items()
        for span in QUEUE_SPANS
    ),
    _numeric("origin_late_trend", "The origin's late rate of the last hour less that of the last 3 hours"),
    _numeric("origin_departed_1h_count", "Departures from the origin, last hour"),
    _numeric("origin_departed_3h_delay_max", "Longest delay of a departure from the origin, last 3 hours, minutes"),
    _numeric("origin_cancelled_3h_rate", "Share of the origin's scheduled flights cancelled, last 3 hours"),
    _numeric("origin_carrier_cancelled_24h_rate", "Share of the carrier's flights cancelled there, last 24 hours"),
    _numeric("flight_arrived_7d_count", "Arrivals of this flight number, last 7 days"),
    _numeric("previous_departure_delay", "Delay of the aircraft's last departure within 24 hours, minutes"),
    _numeric("previous_departure_age", "Minutes since that departure"),
    _numeric("previous_arrival_delay", "Delay of the aircraft's last arrival within 24 hours, minutes"),
    _numeric("previous_arrival_age", "Minutes since that arrival"),
    _numeric("previous_leg_known", "1 if the aircraft departed from New York within 24 hours"),
    _numeric("previous_leg_in_air", "1 if its last departure is later than its last arrival"),
    _numeric("turnaround_slack", "Minutes from the aircraft's last arrival to scheduled departure"),
    _numeric("previous_leg_minutes", "Minutes that its last leg took, once it has arrived"),
    _numeric("return_slack", "The turnaround slack less the way back, as long as the way out was"),
    _numeric("airborne_slack", "If its last leg is in the air: minutes from that departure to scheduled departure"),
    _numeric("minute_of_day", "Scheduled departure, minutes after local midnight in New York"),
    _numeric("hour_of_day", "Scheduled departure, local hour"),
    _numeric("day_of_week", "Scheduled departure, local day of week, Monday = 0"),
    _numeric("lead_minutes", "Minutes from the prediction time to scheduled departure"),
    _numeric("distance", "Miles between the airports"),
    _numeric("plane_age", "Years since the aircraft was built"),
    _numeric("plane_seats", "Seats"),
    _numeric("plane_engines", "Engines"),
    _numeric("dest_latitude", "Latitude of the destination, degrees"),
    _numeric("dest_longitude", "Longitude of the destination, degrees"),
    *(_numeric(f"weather_{name}", f"Last observation at the origin: {name}") for name in WEATHER_SCALES),
    _numeric("weather_age", "Minutes since that observation became known"),
    _numeric("rain_3h", "Precipitation at the origin, last 3 hours, inches"),
    Feature("carrier", "categorical", "Airline"),
    Feature("origin", "categorical", "Airport of departure"),
    Feature("dest", "categorical", "Airport of destination"),
    Feature("plane_manufacturer", "categorical", "Manufacturer of the aircraft"),
    Feature("plane_model", "categorical", "Model of the aircraft"),
)


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """Divide; NaN where the denominator is 0 or missing."""
    safe = np.where(denominator > 0, denominator, np.nan)
    quotient: Numbers = numerator / safe
    return quotient


def nth_sunday(year: Times, month: int, nth: int) -> Times:
    """The ``nth`` Sunday of ``month`` (1-12) in each ``year`` (datetime64[Y]), as datetime64[D]."""
    first = (year.astype("datetime64[M]") + (month - 1)).astype("datetime64[D]")
    weekday = (first.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday; Monday = 0
    days = (6 - weekday) % 7 + 7 * (nth - 1)
    sunday: Times = first + days.astype("timedelta64[D]")
    return sunday


def _seconds(times: Times) -> NDArray[np.int64]:
    """Seconds since 1970."""
    seconds: NDArray[np.int64] = times.astype("datetime64[s]").astype(np.int64)
    return seconds


def _clock_changes() -> NDArray[np.int64]:
    """When New York's clocks go to summer time and back, in turn: seconds since 1970, by the rule in force since 2007,
    for every year that a contract's times may have."""
    year = np.arange("1900", "2101", dtype="datetime64[Y]")
    summer = _seconds(nth_sunday(year, 3, 2)) + 7 * 3600
    winter = _seconds(nth_sunday(year, 11, 1)) + 6 * 3600
    return np.column_stack([summer, winter]).ravel()


CLOCK_CHANGES = _clock_changes()


def new_york_time(utc: Times) -> Times:
    """Local wall time in New York (datetime64[s]) of UTC times of the years 1900 to 2100."""
    seconds = _seconds(utc)
    summer = CLOCK_CHANGES.searchsorted(seconds, side="right") & 1
    local: Times = (seconds + (summer - 5) * 3600).astype("datetime64[s]")
    return local


def minutes_between(earlier: Times, later: Times) -> Numbers:
    """Minutes from ``earlier`` to ``later``."""
    minutes: Numbers = (later - earlier).astype("timedelta64[s]").astype(np.float64) / 60
    return minutes


#: Counts, sums and late counts of the delay windows, and the features made of them, in one order.
DELAY_COUNTS, DELAY_SUMS, LATE_COUNTS, DELAY_MEANS, LATE_RATES = (
    tuple(f"{prefix}_{name}" for prefix in DELAY_WINDOWS)
    for name in ("count", "delay_sum", "late_count", "delay_mean", "late_rate")
)


def _delays(columns: Columns) -> dict[str, Numbers]:
    # All windows in one matrix each: sixty small divisions cost a single query more than all else here.
    counts, sums, late = (
        np.array([columns[name] for name in names]) for names in (DELAY_COUNTS, DELAY_SUMS, LATE_COUNTS)
    )
    means, rates = zip(DELAY_MEANS, ratio(sums, counts), strict=True), zip(LATE_RATES, ratio(late, counts), strict=True)
    found = {**dict(means), **dict(rates)}
    trend = found["origin_departed_1h_late_rate"] - found["origin_departed_3h_late_rate"]
    return {**found, "origin_late_trend": trend}


def _queues(columns: Columns) -> dict[str, Numbers]:
    return {
        f"{group}_queue_{span}": columns[f"{group}_scheduled_{span}_count"]
        - columns[f"{group}_departed_{span}_count"]
        - columns[f"{group}_cancelled_{span}_count"]
        for group in QUEUE_GROUPS
        for span in QUEUE_SPANS
    }


def _airport(columns: Columns) -> dict[str, Numbers]:
    carrier_cancelled = columns["origin_carrier_cancelled_24h_count"]
    return {
        "origin_departed_1h_count": columns["origin_departed_1h_count"],
        "origin_departed_3h_delay_max": columns["origin_departed_3h_delay_max"],
        "origin_cancelled_3h_rate": ratio(columns["origin_cancelled_3h_count"], columns["origin_scheduled_3h_count"]),
        "origin_carrier_cancelled_24h_rate": ratio(carrier_cancelled, columns["origin_carrier_scheduled_24h_count"]),
        "flight_arrived_7d_count": columns["flight_arrived_7d_count"],
    }


def _aircraft(columns: Columns) -> dict[str, Numbers]:
    departed = columns["tailnum_departed_24h_age"]
    arrived = columns["tailnum_arrived_24h_age"]
    lead = minutes_between(columns["prediction_time"], columns["scheduled_departure"])
    known = ~np.isnan(departed)
    in_air = known & ~(arrived <= departed)
    leg = np.where(arrived <= departed, departed - arrived, np.nan)
    return {
        "previous_departure_delay": columns["tailnum_departed_24h_delay"],
        "previous_departure_age": departed,
        "previous_arrival_delay": columns["tailnum_arrived_24h_delay"],
        "previous_arrival_age": arrived,
        "previous_leg_known": known.astype(np.float64),
        "previous_leg_in_air": in_air.astype(np.float64),
        "turnaround_slack": arrived + lead,
        "previous_leg_minutes": leg,
        "return_slack": arrived + lead - leg,
        "airborne_slack": np.where(in_air, departed + lead, np.nan),
        "lead_minutes": lead,
    }


def _calendar(columns: Columns) -> dict[str, Numbers]:
    local = new_york_time(columns["scheduled_departure"])
    day = local.astype("datetime64[D]")
    minute = minutes_between(day.astype("datetime64[s]"), local)
    return {
        "minute_of_day": minute,
        "hour_of_day": np.floor(minute / 60),
        "day_of_week": ((day.astype(np.int64) + 3) % 7).astype(np.float64),
    }


def _references(columns: Columns) -> dict[str, NDArray[Any]]:
    year = columns["scheduled_departure"].astype("datetime64[Y]").astype(np.int64) + 1970
    return {
        "distance": columns["distance"],
        "plane_age": year - columns["planes_year"],
        "plane_seats": columns["planes_seats"],
        "plane_engines": columns["planes_engines"],
        "plane_manufacturer": columns["planes_manufacturer"],
        "plane_model": columns["planes_model"],
        "dest_latitude": columns["airports_lat"],
        "dest_longitude": columns["airports_lon"],
        **{name: columns[name] for name in ("carrier", "origin", "dest")},
    }


def _weather(columns: Columns) -> dict[str, Numbers]:
    observed = {f"weather_{name}": columns[f"weather_now_{name}"] / scale for name, scale in WEATHER_SCALES.items()}
    return {**observed, "weather_age": columns["weather_now_age"], "rain_3h": columns["rain_3h_amount"] / 1000}


def flight_features(columns: Columns) -> dict[str, NDArray[Any]]:
    """Compute every feature in ``FEATURES``; shapes ``(n,)``, numeric float64, categorical object."""
    return {
        **_delays(columns),
        **_queues(columns),
        **_airport(columns),
        **_aircraft(columns),
        **_calendar(columns),
        **_references(columns),
        **_weather(columns),
    }


FEATURE_SET = FeatureSet(features=FEATURES, windows=WINDOWS, references=REFERENCES, function=flight_features)
