"""The analysts' statistics of flights: by hour and airport, and by day, airport and carrier.

Each counts what happened in that hour or day (UTC): departures by actual departure, arrivals by actual arrival,
cancellations and timetable by scheduled departure. It does not know where the numbers are stored.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING

from include.use_cases.flight_delay.windows import LATE_MINUTES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COUNTS = ("scheduled", "departed", "departed_late", "arrived", "arrived_late", "cancelled")
#: Source -> (the time that places it, its counts, its delay in minutes).
MEASURES: Mapping[str, tuple[str, str, str | None]] = {
    "schedule": ("scheduled_departure", "scheduled", None),
    "departures": ("actual_departure", "departed", "departure_delay"),
    "arrivals": ("actual_arrival", "arrived", "arrival_delay"),
    "cancellations": ("scheduled_departure", "cancelled", None),
}


def _counted(facts: "DataFrame", source: str, unit: str, keys: tuple[str, ...]) -> "DataFrame":
    """One source's facts as rows of counts and sums, one column per statistic, placed in their hour or day."""
    from pyspark.sql import functions as F

    time, count, delay = MEASURES[source]
    values = dict.fromkeys((*COUNTS, "departure_delay_sum", "arrival_delay_sum"), F.lit(0).cast("bigint"))
    values[count] = F.lit(1).cast("bigint")
    if delay is not None:
        values[f"{count}_late"] = (F.col(delay) > LATE_MINUTES).cast("bigint")
        values[f"{delay}_sum"] = F.col(delay)
    columns = [value.alias(name) for name, value in values.items()]
    return facts.select(F.date_trunc(unit, F.col(time)).alias(unit), *keys, *columns)


def _statistics(facts: Mapping[str, "DataFrame"], unit: str, keys: tuple[str, ...]) -> "DataFrame":
    """Counts and mean delays per hour or day and keys, with the day as ``ds``."""
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as F

    rows = reduce(DataFrame.unionByName, [_counted(facts[source], source, unit, keys) for source in MEASURES])
    sums = [F.sum(name).alias(name) for name in (*COUNTS, "departure_delay_sum", "arrival_delay_sum")]
    found = rows.groupBy(unit, *keys).agg(*sums)
    departure = F.try_divide("departure_delay_sum", "departed").alias("mean_departure_delay")
    arrival = F.try_divide("arrival_delay_sum", "arrived").alias("mean_arrival_delay")
    ds = F.date_format(unit, "yyyy-MM-dd").alias("ds")
    return found.select(*([unit] if unit == "hour" else []), *keys, *COUNTS, departure, arrival, ds)


def hourly_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per hour and airport of departure: flights scheduled, departed, late, cancelled; mean delays in minutes."""
    return _statistics(facts, "hour", ("origin",))


def daily_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per day, airport of departure and carrier: the same counts and mean delays."""
    return _statistics(facts, "day", ("origin", "carrier"))


STATISTICS: Mapping[str, Callable[[Mapping[str, "DataFrame"]], "DataFrame"]] = {
    "hourly_stats": hourly_stats,
    "daily_stats": daily_stats,
}
