"""The days that a training run reads: chosen by its first try, kept in the models bucket, the same for every other.

So a run that is cleared, or tried again after more days have closed, trains on what it began with. It does not know
which days are closed, nor which are poor.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence

from include.bundle.store import ObjectMissing, ObjectStore
from include.locations import Models
from include.training.dataset import DatasetError, split_days

#: Where fewer of the days are good it is no bad day, but a source or a threshold: somebody has to look.
LEAST_SHARE = 0.5


def check_enough(closed: Sequence[str], poor: Collection[str]) -> None:
    """Raise ``DatasetError`` if too few of the closed days remain to train on without the poor ones."""
    left = [ds for ds in closed if ds not in poor]
    if len(left) < LEAST_SHARE * len(closed):
        raise DatasetError(f"only {len(left)} of {len(closed)} days with closed labels have no poor data")
    split_days(left)


def pin_window(
    models: ObjectStore, use_case: str, run_id: str, choose: Callable[[], Mapping[str, str]]
) -> dict[str, str]:
    """Return ``from`` and ``to`` (UTC days, both included) of a run, asking ``choose`` if no try of it has chosen.

    ``without`` are days between them that are left out, with commas between; it may be missing.
    """
    key = Models(use_case).search_prefix(run_id) + "window.json"
    try:
        kept = models.get(key)
    except ObjectMissing:
        models.put_if_absent(key, json.dumps(dict(choose())).encode())
        kept = models.get(key)
    window: dict[str, str] = json.loads(kept)
    return window
