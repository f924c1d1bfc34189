"""One trial of a search as a record: what was tried and how it went. It does not know Ray."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TrialSummary:
    """One trial; ``status`` is finished, stopped (by the scheduler) or failed."""

    trial_id: str
    status: str
    config: Mapping[str, Any]
    epochs: float
    validation_skill: float | None
    validation_loss: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The trial as a JSON object."""
        return {**asdict(self), "config": dict(self.config)}
