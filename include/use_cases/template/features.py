"""The features of a parcel, two hours before it is promised.

Row-local NumPy over the subject's fields, the references and the windows; missing is NaN or None. It does not know
whether one query or a year of them is computed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.features.spec import Columns, Feature, FeatureSet
from include.use_cases.template.references import REFERENCES
from include.use_cases.template.windows import LEVEL_SCALE, WINDOWS

Numbers = NDArray[np.float64]

#: Window prefix -> the words for what it covers. Each has a count, a sum of delays and a count of late ones.
DELAY_WINDOWS = {
    "depot_delivered_1h": "the depot's deliveries, last hour",
    "depot_delivered_3h": "the depot's deliveries, last 3 hours",
    "depot_delivered_24h": "the depot's deliveries, last 24 hours",
    "courier_delivered_24h": "the courier's deliveries, last 24 hours",
}


def _numeric(name: str, comment: str) -> Feature:
    return Feature(name, "numeric", comment)


FEATURES = (
    *(_numeric(f"{prefix}_delay_mean", f"Mean delay in minutes: {words}") for prefix, words in DELAY_WINDOWS.items()),
    *(_numeric(f"{prefix}_late_rate", f"Share that was late: {words}") for prefix, words in DELAY_WINDOWS.items()),
    _numeric("depot_queue_3h", "Promised less delivered by the depot, last 3 hours"),
    _numeric("courier_delivered_24h_count", "The courier's deliveries, last 24 hours"),
    _numeric("traffic_level", "Last measured traffic around the depot"),
    _numeric("traffic_age", "Minutes since that became known"),
    _numeric("weight_kg", "Weight"),
    _numeric("vans", "Vans of the depot"),
    _numeric("hour_of_day", "Promised, hour (UTC)"),
    _numeric("day_of_week", "Promised, day of week, Monday = 0"),
    Feature("depot", "categorical", "Depot"),
    Feature("courier", "categorical", "Courier"),
    Feature("zone", "categorical", "Zone of the depot"),
)


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """Divide; NaN where the denominator is 0 or missing."""
    safe = np.where(denominator > 0, denominator, np.nan)
    quotient: Numbers = numerator / safe
    return quotient


def _delays(columns: Columns) -> dict[str, Numbers]:
    found: dict[str, Numbers] = {}
    for prefix in DELAY_WINDOWS:
        count = columns[f"{prefix}_count"]
        found[f"{prefix}_delay_mean"] = ratio(columns[f"{prefix}_delay_sum"], count)
        found[f"{prefix}_late_rate"] = ratio(columns[f"{prefix}_late_count"], count)
    return found


def _calendar(columns: Columns) -> dict[str, Numbers]:
    promised = columns["promised_at"]
    day = promised.astype("datetime64[D]")
    return {
        "hour_of_day": np.floor((promised - day).astype("timedelta64[s]").astype(np.float64) / 3600),
        "day_of_week": ((day.astype(np.int64) + 3) % 7).astype(np.float64),
    }


def compute(columns: Columns) -> dict[str, NDArray[Any]]:
    """Compute every feature in ``FEATURES``; shapes ``(n,)``, numeric float64, categorical object."""
    return {
        **_delays(columns),
        **_calendar(columns),
        "depot_queue_3h": columns["depot_due_3h_count"] - columns["depot_delivered_3h_count"],
        "courier_delivered_24h_count": columns["courier_delivered_24h_count"],
        "traffic_level": columns["traffic_now_level"] / LEVEL_SCALE,
        "traffic_age": columns["traffic_now_age"],
        "weight_kg": columns["weight_kg"],
        "vans": columns["depots_vans"],
        "depot": columns["depot"],
        "courier": columns["courier"],
        "zone": columns["depots_zone"],
    }


FEATURE_SET = FeatureSet(features=FEATURES, windows=WINDOWS, references=REFERENCES, function=compute)
