"""What became of a parcel. It does not know which days are closed: the caller passes what was known in the horizon."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.use_cases.template.windows import LATE_MINUTES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def labels(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Return ``label_day``, ``subject_id``, ``label`` (0/1) and ``outcome`` of each parcel.

    ``outcome`` is ``on_time``, ``late`` or ``missing`` (nobody has handed it over by the end of the horizon).
    """
    # Spark is imported here: the predictor loads this module without it.
    from pyspark.sql import functions as F

    keys = ["label_day", "id"]
    delivered = facts["deliveries"].select(*keys, "delay_minutes")
    outcome = (
        F.when(F.col("delay_minutes") > LATE_MINUTES, "late")
        .when(F.col("delay_minutes").isNotNull(), "on_time")
        .otherwise("missing")
    )
    judged = facts["orders"].select(*keys).join(delivered, keys, "left").withColumn("outcome", outcome)
    label = (F.col("outcome") != "on_time").cast("int").alias("label")
    return judged.select("label_day", F.col("id").alias("subject_id"), label, "outcome")
