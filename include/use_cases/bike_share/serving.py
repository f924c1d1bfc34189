"""The analysts' statistics: what was hired, by hour and by day (UTC) and city.

A count that covers two hours stands in the first. It does not know where the numbers are stored.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def _statistics(facts: Mapping[str, "DataFrame"], unit: str) -> "DataFrame":
    """Hires by hour or day (UTC) and city, with the day as ``ds``."""
    from pyspark.sql import functions as F

    placed = facts["hires"].withColumn(unit, F.date_trunc(unit, F.col("starts_at")))
    hired = [F.sum(field).alias(name) for field, name in (("total", "hired"), ("casual", "hired_casual"))]
    counted = [F.count(F.lit(1)).alias("hours_counted"), F.max("total").alias("busiest_hour")] if unit == "day" else []
    found = placed.groupBy(unit, "city").agg(*hired, *counted)
    share = F.try_divide("hired_casual", "hired").alias("casual_share")
    more = ["hours_counted", "busiest_hour"] if unit == "day" else []
    ds = F.date_format(unit, "yyyy-MM-dd").alias("ds")
    return found.select(*([unit] if unit == "hour" else []), "city", "hired", "hired_casual", share, *more, ds)


def hourly_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per hour and city: bikes hired, of them without a subscription, and that as a share."""
    return _statistics(facts, "hour")


def daily_stats(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Per day and city: the same, with how many counts there are and the largest."""
    return _statistics(facts, "day")


STATISTICS: Mapping[str, Callable[[Mapping[str, "DataFrame"]], "DataFrame"]] = {
    "hourly_stats": hourly_stats,
    "daily_stats": daily_stats,
}
