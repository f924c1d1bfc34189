"""The facts and outcomes of a span of days, for whoever plays them back (found by the name of this module)."""

from datetime import date, datetime, timedelta
from typing import Any

from include.use_cases.template import USE_CASE, generated
from include.use_cases.template.windows import LATE_MINUTES

LEAD = timedelta(minutes=USE_CASE.prediction_lead_minutes)
LABEL_HORIZON = timedelta(days=USE_CASE.label_horizon_days)


def facts(first: date, last: date, redated: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Source name -> the facts that became known on the days ``first`` to ``last``, in the order of availability.

    ``redated`` changes nothing: any day has facts.
    """
    return {source: [row for _, row in known] for source, known in generated.facts(first, last).items()}


def outcomes(first: date, last: date, redated: bool = False) -> dict[str, int]:
    """Id -> 1 (late, or not there) or 0, of the parcels whose default prediction time lies on these days."""
    known = generated.facts(first - generated.REACH, last + LABEL_HORIZON)
    delays = {row["id"]: (ds, row["delay_minutes"]) for ds, row in known["deliveries"]}
    found = {}
    for _, order in known["orders"]:
        day = (datetime.fromisoformat(order["promised_at"]) - LEAD).date()
        if first <= day <= last:
            ds, delay = delays.get(order["id"], ("", None))
            in_time = delay is not None and delay <= LATE_MINUTES and ds <= (day + LABEL_HORIZON).isoformat()
            found[order["id"]] = int(not in_time)
    return found
