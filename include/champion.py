"""The ledger's champion as a model that can be asked about the days a candidate is judged on.

The training run and the gate both compare with it, by the same rules. It does not know who asks, nor the figures.
"""

from collections.abc import Iterable

from include.bundle.bundle import Bundle, FeatureMismatch, load_bundle
from include.bundle.store import ObjectStore
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


def overlap(champion: Bundle, test_days: Iterable[str]) -> str:
    """Say so if the champion has seen the days it is tested on: the comparison then favours it."""
    split = champion.lineage["split"]
    seen = {*split["train"]["days"], *split["validation"]["days"]} & set(test_days)
    return f"the champion was trained on {len(seen)} of the test days" if seen else ""
