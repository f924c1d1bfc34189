"""Plausible facts of any day from ``OPENED`` on, drawn at random: the same day always gives the same facts.

They stand in for upstream systems until there are real ones; a busy depot is late, and its traffic and its last
deliveries say so. Then delete this module, ``feeder`` and ``replay``.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np

from include.use_cases.template.contracts import SOURCES

Row = dict[str, Any]

#: Depot -> vans and zone. ``old_town`` is in no reference table.
DEPOTS = {"north": (12, "suburb"), "harbour": (20, "centre"), "old_town": (5, "centre")}
KNOWN_DEPOTS = ("north", "harbour")
COURIERS_PER_DEPOT = 5
PARCELS_PER_DAY = 400
FIRST_HOUR, LAST_HOUR = 8, 20
#: The first day that a parcel is promised: its order lies within the history, or its delivery would speak of a parcel
#: that nobody knows.
OPENED = date(2024, 1, 3)
#: How far a fact can lie from the day that its parcel is promised: orders before, deliveries after.
REACH = timedelta(days=2)
SEED = 20240101


def reference_rows() -> list[Row]:
    """The rows of the reference table ``depots``."""
    return [{"depot": name, "vans": DEPOTS[name][0], "zone": DEPOTS[name][1]} for name in KNOWN_DEPOTS]


def facts(first: date, last: date) -> dict[str, list[tuple[str, Row]]]:
    """Source -> (``ds``, fact as a JSON object) of all facts that become known on the days ``first`` to ``last``."""
    known: dict[str, list[tuple[datetime, Row]]] = {contract.name: [] for contract in SOURCES}
    for number in range(-REACH.days, (last - first).days + REACH.days + 1):
        for source, available, row in _of_day(first + timedelta(days=number)):
            if first <= available.date() <= last:
                known[source].append((available, row))
    ordered = {source: sorted(rows, key=lambda found: (found[0], found[1]["id"])) for source, rows in known.items()}
    return {source: [(at.date().isoformat(), row) for at, row in rows] for source, rows in ordered.items()}


def _of_day(day: date) -> Iterator[tuple[str, datetime, Row]]:
    """Every fact about the parcels promised on a day and its traffic: source, when it becomes known, the fact."""
    random = np.random.default_rng([SEED, day.toordinal()])
    load = {depot: _load(random) for depot in DEPOTS}
    midnight = datetime.combine(day, time(), UTC)
    for depot, levels in load.items():
        for hour, level in enumerate(levels):
            begins = midnight + timedelta(hours=hour)
            row = {"id": f"{depot}-{begins:%Y%m%dT%H}", "depot": depot, "hour": _text(begins), "level": round(level, 2)}
            yield "traffic", begins + timedelta(hours=1), row
    for number in range(PARCELS_PER_DAY if day >= OPENED else 0):
        yield from _parcel(f"{day:%Y%m%d}-{number:04d}", midnight, load, random)


def _load(random: np.random.Generator) -> list[float]:
    """How busy a depot is, hour by hour: a day has a level of its own, and what begins goes on for a while."""
    level, levels = random.gamma(2.0, 0.5), []
    for _ in range(24):
        level = max(0.0, 0.85 * level + 0.15 + random.normal(0.0, 0.25))
        levels.append(level)
    return levels


def _parcel(
    name: str, midnight: datetime, load: dict[str, list[float]], random: np.random.Generator
) -> Iterator[tuple[str, datetime, Row]]:
    depot = str(random.choice(list(DEPOTS)))
    courier = int(random.integers(COURIERS_PER_DEPOT))
    minute = 5 * int(random.integers(FIRST_HOUR * 12, LAST_HOUR * 12))
    promised = midnight + timedelta(minutes=minute)
    ordered = promised - timedelta(minutes=int(random.integers(12 * 60, 36 * 60)))
    weight = None if random.random() < 0.05 else round(float(random.lognormal(1.0, 0.8)), 1)
    identity = {"id": name, "depot": depot, "courier": f"{depot[0]}{courier}", "promised_at": _text(promised)}
    yield "orders", ordered, {**identity, "weight_kg": weight, "ordered_at": _text(ordered)}
    expected = -20.0 + 25.0 * load[depot][minute // 60] + 4.0 * courier + (weight or 3.0) / 2
    delay = int(np.clip(random.normal(expected, 12.0), -59, 590))
    if random.random() > 0.02:
        delivered = promised + timedelta(minutes=delay)
        yield "deliveries", delivered, {**identity, "delivered_at": _text(delivered), "delay_minutes": delay}


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
