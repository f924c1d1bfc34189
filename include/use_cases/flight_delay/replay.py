"""The facts and outcomes of a span of days, for whoever plays them back (found by the name of this module).

Facts are JSON objects as upstream systems would send them; outcomes are what became of each subject, for judging
predictions while they come in. It does not know where facts go.
"""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from include.use_cases.flight_delay import USE_CASE, upstream
from include.use_cases.flight_delay.redating import redated_facts
from include.use_cases.flight_delay.windows import LATE_MINUTES

LEAD = pd.Timedelta(minutes=USE_CASE.prediction_lead_minutes)
LABEL_HORIZON = timedelta(days=USE_CASE.label_horizon_days)


def facts(first: date, last: date, redated: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Source name -> the facts that became known on the days ``first`` to ``last``, in the order of availability."""
    return {source: as_json(table) for source, table in _facts(first, last, redated).items()}


def outcomes(first: date, last: date, redated: bool = False) -> dict[str, int]:
    """Id -> 1 (late, cancelled or diverted) or 0, of the flights whose default prediction time lies on these days.

    Judged from the facts of each flight's own horizon, as the labels of the batch layer are; a flight that nobody
    knows anything about is not in it.
    """
    known = _facts(first - timedelta(days=1), last + LABEL_HORIZON, redated)
    labelled = known["schedule"].assign(ds=_label_day(known["schedule"]["scheduled_departure"]))
    labelled = labelled[labelled["ds"].between(first.isoformat(), last.isoformat())]
    horizon = dict(zip(labelled["id"], _days_later(labelled["ds"]), strict=True))
    delays, departed, cancelled = (
        _within(known[source], horizon) for source in ("arrivals", "departures", "cancellations")
    )
    late = dict(zip(delays["id"], delays["arrival_delay"] > LATE_MINUTES, strict=True))
    return dict.fromkeys((*departed["id"], *cancelled["id"]), 1) | {key: int(value) for key, value in late.items()}


def as_json(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table of facts as JSON objects: times as texts, what is missing as null."""
    times = {name: upstream.utc_text(table[name], "s") for name in table.select_dtypes("datetimetz").columns}
    plain = table.drop(columns="ds").assign(**times).astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _facts(first: date, last: date, redated: bool) -> dict[str, pd.DataFrame]:
    tables = redated_facts(first, last) if redated else upstream.facts_of_days(first, last)
    return {source: table[table["ds"].between(first.isoformat(), last.isoformat())] for source, table in tables.items()}


def _label_day(departures: "pd.Series[pd.Timestamp]") -> list[str]:
    return upstream.utc_text(departures - LEAD, "D")


def _days_later(days: "pd.Series[str]") -> list[str]:
    moved = days.to_numpy().astype("datetime64[D]") + np.timedelta64(LABEL_HORIZON)
    return [str(day) for day in moved.astype("datetime64[D]")]


def _within(table: pd.DataFrame, horizon: dict[str, str]) -> pd.DataFrame:
    """The facts about the flights of ``horizon`` (id -> last day that counts) that became known within it."""
    last = table["id"].map(horizon)
    return table[last.notna() & (table["ds"] <= last)]
