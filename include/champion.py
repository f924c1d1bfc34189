"""The ledger's champion as a model that can be asked about the days a candidate is judged on.

The training run and the gate both compare with it, by the same rules. It does not know who asks, nor the figures.
"""

import json
from collections.abc import Iterable
from typing import Any

from include.bundle.bundle import Bundle, FeatureMismatch, load_bundle
from include.bundle.store import ObjectMissing, ObjectStore
from include.locations import Models
from include.use_case import UseCase


def load_champion(models: ObjectStore, use_case: UseCase, model_id: str | None) -> tuple[Bundle | None, str]:
    """The champion's bundle, or ``None`` and why there is none to compare with; without an id there is no champion yet.

    Raises ``BundleCorrupt``, ``SelfCheckFailed`` or ``ObjectMissing`` if the bundle is damaged.
    """
    if model_id is None:
        return None, "there is no champion yet"
    try:
        return load_bundle(models, use_case.name, model_id, use_case.features), ""
    except FeatureMismatch:
        # Neither this code nor the service can compute that model's features any more.
        return None, f"champion {model_id[:12]} has another feature definition"


def lineage_of(models: ObjectStore, use_case: str, model_id: str) -> dict[str, Any]:
    """A bundle's lineage: its days and the table versions it was trained on."""
    found: dict[str, Any] = json.loads(models.get(Models(use_case).bundle_prefix(model_id) + "lineage.json"))
    return found


def days_learned(models: ObjectStore, use_case: str, model_id: str) -> set[str]:
    """The days that a model's weights have learned from: its own, and those of the models that it went on from.

    Of a model that names no days, or was deleted by hand, nothing can be said.
    """
    days: set[str] = set()
    ancestor: str | None = model_id
    while ancestor is not None:
        try:
            lineage = lineage_of(models, use_case, ancestor)
        except ObjectMissing:
            break
        if "split" in lineage:
            days.update(lineage["split"]["train"]["days"], lineage["split"]["validation"]["days"])
        ancestor = lineage.get("continued_from")
    return days


def overlap(models: ObjectStore, champion: Bundle, test_days: Iterable[str]) -> str:
    """Say so if the champion's weights know the days it is tested on: the comparison then favours it."""
    seen = days_learned(models, champion.use_case, champion.model_id) & set(test_days)
    return f"the champion was trained on {len(seen)} of the test days" if seen else ""
