"""The data-quality scorecard: what its dimensions mean, which value counts, and what falls short of a threshold.

Every value is a share from 0 to 1 of one source and one day. Pure: where the rows lie and who computes them is not its
affair (``spark_jobs.assess_quality``). docs/data-quality.md says the same in words.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

DIMENSIONS: Mapping[str, str] = {
    "accuracy": "Rows whose values agree with each other where one follows from the others",
    "completeness": "Values present in the fields that may be empty and say nothing by it",
    "consistency": "Rows that agree with the subject that they speak of, in every field they share",
    "timeliness": "Rows that were ingested in time after they had landed",
    "accessibility": "Rows accepted by ingest that a reader finds in the warehouse",
    "validity": "Rows that the contract accepts",
    "uniqueness": "Rows that had not been delivered before",
}


@dataclass(frozen=True)
class Shortfall:
    """One value below its threshold."""

    ds: str
    source: str
    dimension: str
    value: float
    threshold: float

    def words(self) -> str:
        """For people: source, day, dimension, value, threshold."""
        return f"{self.source} {self.ds}: {self.dimension} is {self.value:.4f}, below the threshold {self.threshold:g}"


def newest_values(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], float]:
    """The value measured last, by (ds, source, dimension), from rows of the table ``data_quality``."""
    newest: dict[tuple[str, str, str], tuple[datetime, float]] = {}
    for row in rows:
        key = (str(row["ds"]), str(row["source"]), str(row["dimension"]))
        if key not in newest or row["time"] >= newest[key][0]:
            newest[key] = (row["time"], float(row["value"]))
    return {key: value for key, (_, value) in newest.items()}


def shortfalls(rows: Iterable[Mapping[str, Any]], thresholds: Mapping[str, float]) -> list[Shortfall]:
    """What lies below its threshold, by day, source and dimension; dimensions without a threshold never do."""
    return [
        Shortfall(ds, source, dimension, value, thresholds[dimension])
        for (ds, source, dimension), value in sorted(newest_values(rows).items())
        if dimension in thresholds and value < thresholds[dimension]
    ]
