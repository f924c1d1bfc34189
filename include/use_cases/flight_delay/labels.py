"""What became of a flight: late means more than 15 minutes late at the destination, cancelled, or diverted.

It does not know which days are closed: the caller passes the facts that were available within the horizon.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.use_cases.flight_delay.windows import LATE_MINUTES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def labels(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Return ``label_day``, ``subject_id``, ``label`` (0/1) and ``outcome`` of each flight that has any later fact.

    ``outcome`` is ``on_time``, ``late``, ``cancelled`` or ``diverted`` (departed, but no arrival within the horizon).
    A flight without any fact has no row: nobody knows what became of it.
    """
    from pyspark.sql import functions as F

    keys = ["label_day", "id"]
    departed = facts["departures"].select(*keys, F.lit(True).alias("departed"))
    arrived = facts["arrivals"].select(*keys, "arrival_delay")
    cancelled = facts["cancellations"].select(*keys, F.lit(True).alias("cancelled"))
    joined = facts["schedule"].select(*keys).join(departed, keys, "left").join(arrived, keys, "left")
    outcome = (
        F.when(F.col("arrival_delay") > LATE_MINUTES, "late")
        .when(F.col("arrival_delay").isNotNull(), "on_time")
        .when(F.col("cancelled"), "cancelled")
        .when(F.col("departed"), "diverted")
    )
    judged = joined.join(cancelled, keys, "left").select(
        "label_day", F.col("id").alias("subject_id"), outcome.alias("outcome")
    )
    known = judged.where(F.col("outcome").isNotNull())
    return known.select(
        "label_day", "subject_id", (F.col("outcome") != "on_time").cast("int").alias("label"), "outcome"
    )
