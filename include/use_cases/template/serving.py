"""The analysts' statistics: what was delivered, by hour and depot and by day, depot and courier.

It does not know where the numbers are stored.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from include.use_cases.template.windows import LATE_MINUTES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def _statistics(facts: Mapping[str, "DataFrame"], unit: str, keys: tuple[str, ...]) -> "DataFrame":
    """Deliveries by hour or day (UTC) and keys, with the day as ``ds``."""
    from pyspark.sql import functions as F

    placed = facts["deliveries"].withColumn(unit, F.date_trunc(unit, F.col("delivered_at")))
    late = F.sum((F.col("delay_minutes") > LATE_MINUTES).cast("bigint")).alias("delivered_late")
    delivered = F.count(F.lit(1)).alias("delivered")
    found = placed.groupBy(unit, *keys).agg(delivered, late, F.avg("delay_minutes").alias("mean_delay"))
    ds = F.date_format(unit, "yyyy-MM-dd").alias("ds")
    return found.select(*([unit] if unit == "hour" else []), *keys, "delivered", "delivered_late", "mean_delay", ds)


def hourly_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per hour and depot: parcels delivered, of them late, mean delay in minutes."""
    return _statistics(facts, "hour", ("depot",))


def daily_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per day, depot and courier: the same."""
    return _statistics(facts, "day", ("depot", "courier"))


STATISTICS: Mapping[str, Callable[[Mapping[str, "DataFrame"]], "DataFrame"]] = {
    "hourly_stats": hourly_stats,
    "daily_stats": daily_stats,
}
