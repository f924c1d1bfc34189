"""Parity and freshness of logged predictions: which served features differ from their batch recomputation, in bits.

Pure: the Spark job brings both sides together. A difference is *explained* when the batch layer, told to forget the
facts that came too late for the stream, gives what was served; a row that was served from facts withdrawn (or before
facts restored) since is not judged (see ``spark_jobs/recompute``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from include.broadcast import Message
from include.features.spec import Feature
from include.metrics import data_quality_id

SOURCE = "predictions"
PARITY, EXPLAINED = "parity", "parity_explained_by_late"
INSTANCE = "score_predictions"
FRESHNESS = "prediction_freshness_seconds"
QUANTILES = ("0.5", "0.95", "1")
IDS_SHOWN = 20
#: What stands before a feature's name in the recomputed column beside the served one.
AGAIN = "again_"


def differing(served: pa.ChunkedArray, again: pa.ChunkedArray, feature: Feature) -> NDArray[np.bool_]:
    """Where two columns of a feature differ: doubles by their bits (NaN and null are one), texts by their letters."""
    if feature.kind == "categorical":
        pairs = zip(served.to_pylist(), again.to_pylist(), strict=True)
        return np.fromiter((left != right for left, right in pairs), dtype=np.bool_, count=len(served))
    different: NDArray[np.bool_] = bits(served) != bits(again)
    return different


def bits(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Doubles as the integers that they are made of; null and every NaN are the same NaN."""
    values = np.array(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    values[np.isnan(values)] = np.nan
    return values.view(np.int64)


def differences(pairs: pa.Table, features: Sequence[Feature]) -> list[list[str]]:
    """Per row the names of the features that differ, from columns ``{name}`` and ``again_{name}``."""
    found: list[list[str]] = [[] for _ in range(len(pairs))]
    for feature in features:
        for row in np.flatnonzero(differing(pairs[feature.name], pairs[AGAIN + feature.name], feature)):
            found[row].append(feature.name)
    return found


@dataclass(frozen=True)
class DayParity:
    """One day's comparison, in rows. ``different`` are those that nothing explains, ``features`` counts them by
    feature, ``subjects`` names some of theirs; ``superseded`` were right by the facts that counted when they were
    served."""

    ds: str
    logged: int
    other_definition: int = 0
    compared: int = 0
    explained: int = 0
    different: int = 0
    degraded: int = 0
    features: Mapping[str, int] = field(default_factory=dict)
    subjects: Sequence[str] = ()
    superseded: int = 0

    @property
    def unknown_subjects(self) -> int:
        """Rows whose subject is no fact of the batch layer: somebody asked about something of their own."""
        return self.logged - self.compared - self.other_definition

    @property
    def detail(self) -> str:
        """What differs, for the book; empty if nothing does."""
        if not self.different:
            return ""
        features = ", ".join(f"{name} ({rows})" for name, rows in sorted(self.features.items(), key=lambda f: -f[1]))
        return (
            f"{self.different} rows differ ({self.degraded} of them said to be degraded) in {features}; "
            f"subjects {', '.join(self.subjects[:IDS_SHOWN])}"
        )

    def words(self) -> str:
        """The day for the log."""
        equal = self.compared - self.explained - self.superseded - self.different
        return (
            f"{self.ds}: {self.logged} predictions logged, {equal} equal bit for bit, {self.explained} explained by "
            f"late facts, {self.different} different; not comparable: {self.other_definition} of another feature "
            f"definition, {self.unknown_subjects} of unknown subjects, {self.superseded} of facts withdrawn or "
            "restored since" + (f". {self.detail}" if self.detail else "")
        )

    def shares(self) -> list[tuple[str, float]]:
        """(dimension, value): equal rows among those that are judged, and the share that late facts explain."""
        if not self.compared:
            return []
        judged = self.compared - self.explained - self.superseded
        parity = 1.0 - self.different / judged if judged else 1.0
        return [(PARITY, parity), (EXPLAINED, self.explained / self.compared)]


def parity_messages(use_case: str, run_id: str, time: str, days: Iterable[DayParity]) -> list[Message]:
    """Metrics messages of kind ``data_quality``, source ``predictions``."""
    messages: list[Message] = []
    for day in days:
        for dimension, value in day.shares():
            identity = data_quality_id(use_case, day.ds, SOURCE, dimension, value)
            about = {"kind": "data_quality", "source": SOURCE, "dimension": dimension}
            messages.append((identity, _head(identity, use_case, run_id, time, day.ds) | about | {"value": value}))
    return messages


def freshness_messages(use_case: str, run_id: str, time: str, rows: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Run-time metrics from rows ``ds, source, seconds`` (seconds at each of ``QUANTILES``)."""
    messages: list[Message] = []
    for row in rows:
        for quantile, seconds in zip(QUANTILES, row["seconds"], strict=True):
            name = f'{FRESHNESS}{{source="{row["source"]}",quantile="{quantile}"}}'
            identity = f"runtime/{use_case}/{row['ds']}/{INSTANCE}/{name}/{seconds:.9g}"
            about = {"kind": "runtime", "instance": INSTANCE, "name": name, "value": float(seconds)}
            messages.append((identity, _head(identity, use_case, run_id, time, row["ds"]) | about))
    return messages


def _head(identity: str, use_case: str, run_id: str, time: str, ds: str) -> dict[str, Any]:
    return {"metric_id": identity, "use_case": use_case, "run_id": run_id, "time": time, "ds": ds}
