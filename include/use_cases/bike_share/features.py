"""The features of an hour, one hour before it begins.

Row-local NumPy over the subject's fields and the windows; missing is NaN. It does not know whether one query or a year
of them is computed. Hours count in UTC: in the day (week) after the clocks change, the same hour yesterday (last week)
is the one that lay 24 (168) hours before.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.features.spec import Columns, Feature, FeatureSet
from include.use_cases.bike_share.references import REFERENCES
from include.use_cases.bike_share.windows import HOUR, LEAD_HOURS, SHARE_SCALE, SHARES, WINDOWS

Numbers = NDArray[np.float64]
Times = NDArray[np.datetime64]

SPANS = ("1h", "2h", "3h", "6h", "24h")
#: Names of an hour of a kind of day, by hour and ``working_day``.
HOURS_OF_KINDS = np.array([[f"{hour} {kind}" for kind in ("free", "working")] for hour in range(24)], dtype=object)


def _numeric(name: str, comment: str) -> Feature:
    return Feature(name, "numeric", comment)


FEATURES = (
    *(_numeric(f"hires_{span}", f"Bikes hired, last {span}") for span in SPANS),
    _numeric("hires_trend", "The last counted hour less the one before"),
    _numeric("hires_to_yesterday", "The last counted hour, as a multiple of the one a day before it"),
    _numeric("hires_to_week", "A mean hour of the last 24, as a multiple of one of the last 7 days"),
    _numeric("casual_share_3h", "Share hired without a subscription, last 3 hours"),
    _numeric("casual_share_24h", "The same, last 24 hours"),
    _numeric("same_hour_yesterday", "Hired in the hour a day before; missing if asked at another lead than the usual"),
    _numeric("same_hour_last_week", "Hired in the hour a week before; likewise"),
    _numeric("usual_at_hour", "Mean of the hours that the clocks called alike, last 7 days"),
    _numeric("usual_of_kind", "The same, of days that were like this one (working or free)"),
    _numeric("usual", "Mean of an hour, last 7 days"),
    _numeric("weather_condition", "Last observation: 1 clear to 4 heavy rain or snow"),
    *(_numeric(f"weather_{name}", f"Last observation: {name}, 0 to 1") for name in SHARES),
    _numeric("weather_age", "Minutes since that became known"),
    _numeric("hour_of_day", "Start, hour that the city's clocks show"),
    _numeric("day_of_week", "Start, the city's day of week, Monday = 0"),
    _numeric("working_day", "1 if neither a weekend nor a holiday"),
    _numeric("holiday", "1 on a public holiday"),
    Feature("hour_of_kind", "categorical", "Hour that the clocks show and kind of day, e.g. 8 working"),
)


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """Divide; NaN where the denominator is 0 or missing."""
    safe = np.where(denominator > 0, denominator, np.nan)
    quotient: Numbers = numerator / safe
    return quotient


def local_days(starts_at: Times, hour_of_day: Numbers) -> Times:
    """The dates (datetime64[D]) where clocks show ``hour_of_day`` at ``starts_at`` (UTC), west of Greenwich."""
    seconds = starts_at.astype("datetime64[s]").astype(np.int64)
    behind = (seconds // 3600 - np.nan_to_num(hour_of_day).astype(np.int64)) % 24
    days: Times = (seconds - behind * 3600).astype("datetime64[s]").astype("datetime64[D]")
    return days


def _between(columns: Columns, longer: str, shorter: str) -> Numbers:
    """Bikes hired in the hour that the longer window has more than the shorter; NaN if that was not counted."""
    counted = columns[f"{longer}_count"] > columns[f"{shorter}_count"]
    return np.where(counted, columns[f"{longer}_total"] - columns[f"{shorter}_total"], np.nan)


def _recent(columns: Columns) -> dict[str, Numbers]:
    last, day = columns["hires_1h_total"], columns["hires_24h_total"]
    week = ratio(columns["hires_7d_total"], columns["hires_7d_count"])
    return {
        **{f"hires_{span}": columns[f"hires_{span}_total"] for span in SPANS},
        "hires_trend": 2 * last - columns["hires_2h_total"],
        "hires_to_yesterday": ratio(last, _between(columns, "hires_25h", "hires_24h")),
        "hires_to_week": ratio(ratio(day, columns["hires_24h_count"]), week),
        "casual_share_3h": ratio(columns["hires_3h_casual"], columns["hires_3h_total"]),
        "casual_share_24h": ratio(columns["hires_24h_casual"], day),
        "usual": week,
    }


def _alike(columns: Columns) -> dict[str, Numbers]:
    starts_at, asked_at = (columns[name].astype("datetime64[m]") for name in ("starts_at", "prediction_time"))
    ahead = (starts_at - asked_at).astype(np.int64)
    as_usual = ahead // HOUR == LEAD_HOURS
    yesterday = _between(columns, "from_yesterday", "after_yesterday")
    last_week = _between(columns, "from_last_week", "after_last_week")
    return {
        "same_hour_yesterday": np.where(as_usual, yesterday, np.nan),
        "same_hour_last_week": np.where(as_usual, last_week, np.nan),
        "usual_at_hour": ratio(columns["hour_7d_total"], columns["hour_7d_count"]),
        "usual_of_kind": ratio(columns["kind_7d_total"], columns["kind_7d_count"]),
    }


def _weather(columns: Columns) -> dict[str, Numbers]:
    return {
        "weather_condition": columns["weather_now_condition"],
        **{f"weather_{name}": columns[f"weather_now_{name}"] / SHARE_SCALE for name in SHARES},
        "weather_age": columns["weather_now_age"],
    }


def _calendar(columns: Columns) -> dict[str, NDArray[Any]]:
    hour, working = columns["hour_of_day"], columns["working_day"]
    days = local_days(columns["starts_at"], hour)
    return {
        "hour_of_day": hour,
        "day_of_week": ((days.astype(np.int64) + 3) % 7).astype(np.float64),  # 1970-01-01 was a Thursday
        "working_day": working,
        "holiday": columns["holiday"],
        "hour_of_kind": HOURS_OF_KINDS[hour.astype(np.int64), working.astype(np.int64)],
    }


def compute(columns: Columns) -> dict[str, NDArray[Any]]:
    """Compute every feature in ``FEATURES``; shapes ``(n,)``, numeric float64, categorical object."""
    return {**_recent(columns), **_alike(columns), **_weather(columns), **_calendar(columns)}


FEATURE_SET = FeatureSet(features=FEATURES, windows=WINDOWS, references=REFERENCES, function=compute)
