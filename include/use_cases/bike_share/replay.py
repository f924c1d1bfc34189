"""The facts and outcomes of a span of days, for whoever plays them back (found by the name of this module)."""

from datetime import date, datetime, timedelta
from typing import Any

from include.use_cases.bike_share import USE_CASE, upstream

LEAD = timedelta(minutes=USE_CASE.prediction_lead_minutes)
LABEL_HORIZON = timedelta(days=USE_CASE.label_horizon_days)
HOUR = timedelta(hours=1)


def facts(first: date, last: date, redated: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Source name -> the facts that became known on the days ``first`` to ``last``, in the order of availability."""
    return {source: [row for _, row in known] for source, known in upstream.facts(first, last, redated).items()}


def outcomes(first: date, last: date, redated: bool = False) -> dict[str, int]:
    """Id -> bikes hired, of the hours whose default prediction time lies on these days and that were counted alone."""
    found = {}
    for ds, row in upstream.facts(first, last + LABEL_HORIZON, redated)["hires"]:
        starts_at, ends_at = (datetime.fromisoformat(row[name]) for name in ("starts_at", "ends_at"))
        day = (starts_at - LEAD).date()
        in_time = ds <= (day + LABEL_HORIZON).isoformat()
        if first <= day <= last and ends_at - starts_at == HOUR and in_time:
            found[row["id"]] = int(row["total"])
    return found
