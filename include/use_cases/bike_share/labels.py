"""How many bikes were hired in an hour. It does not know which days are closed: the caller passes what was known in
the horizon."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

#: Up to so many hires (excluded) an hour is quiet, and from so many on it is busy: about a quarter of the hours each.
QUIET_BELOW = 30
BUSY_FROM = 200


def labels(facts: Mapping[str, "DataFrame"]) -> "DataFrame":
    """Return ``label_day``, ``subject_id``, ``label`` (bikes hired in the hour) and ``outcome`` of each counted hour.

    ``outcome`` is ``quiet``, ``usual`` or ``busy``. An hour that nobody has counted within the horizon has no row:
    it may have had no hires, or nobody looked, and the data does not say which. Nor has an hour that was counted
    together with another.
    """
    # Spark is imported here: the predictor loads this module without it.
    from pyspark.sql import functions as F

    keys = ["label_day", "id"]
    one_hour = F.unix_seconds("ends_at") - F.unix_seconds("starts_at") == 3600
    counted = facts["hires"].where(one_hour).select(*keys, "total")
    judged = facts["hours"].select(*keys).join(counted, keys)
    outcome = F.when(F.col("total") < QUIET_BELOW, "quiet").when(F.col("total") < BUSY_FROM, "usual").otherwise("busy")
    return judged.select(
        "label_day",
        F.col("id").alias("subject_id"),
        F.col("total").cast("int").alias("label"),
        outcome.alias("outcome"),
    )
