"""Which landing files' facts are withdrawn: the newest event of a file in the append-only table ``retractions`` counts.

Everybody who reads raw facts asks here, and leaves those facts out. It knows neither why they were withdrawn, nor what
depended on them (see ``retraction``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from deltalake.exceptions import TableNotFoundError

from include import lake
from include.tables import RETRACTIONS

Event = Literal["retracted", "restored"]


def retracted_keys(events: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The landing files that are withdrawn, by key, each with the event that did it."""
    newest: dict[str, Mapping[str, Any]] = {}
    for event in sorted(events, key=lambda event: event["time"]):
        newest[str(event["landing_key"])] = event
    return {key: event for key, event in newest.items() if event["event"] == "retracted"}


@dataclass(frozen=True)
class Period:
    """From ``start`` up to ``end`` (UTC; None: since ever, until now) these landing files were withdrawn."""

    start: datetime | None
    end: datetime | None
    withdrawn: frozenset[str]


def periods(events: Iterable[Mapping[str, Any]]) -> list[Period]:
    """What was withdrawn when, in order of time; the last one is now."""
    ordered = sorted(events, key=lambda event: event["time"])
    times = [None, *sorted({event["time"] for event in ordered})]
    return [
        Period(start, end, frozenset(retracted_keys(e for e in ordered if start is not None and e["time"] <= start)))
        for start, end in zip(times, [*times[1:], None], strict=True)
    ]


def counted(rows: Iterable[Mapping[str, Any]], withdrawn: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of measurements (``ds``, ``source``, ``time``) those not made of facts that were withdrawn afterwards.

    ``withdrawn`` is what ``retracted_keys`` gives. A day that was measured again since has newer ones.
    """
    since: dict[tuple[str, str], Any] = {}
    for event in withdrawn.values():
        place = (str(event["source"]), str(event["ds"]))
        since[place] = max(since.get(place, event["time"]), event["time"])
    return [row for row in rows if row["time"] >= since.get((str(row["source"]), str(row["ds"])), row["time"])]


def read_events(use_case: str) -> list[dict[str, Any]]:
    """Every event; none while nothing was ever retracted."""
    try:
        return lake.read_rows(use_case, RETRACTIONS.name)
    except TableNotFoundError:
        return []


def retracted_files(use_case: str, source: str) -> list[str]:
    """The landing keys of a source whose facts are not to be read; none while nothing was ever retracted."""
    return sorted(retracted_keys(event for event in read_events(use_case) if event["source"] == source))
