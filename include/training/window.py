"""The days that a training run reads: chosen by its first try, kept in the models bucket, the same for every other.

So a run that is cleared, or tried again after more days have closed, trains on what it began with. It does not know
which days are closed.
"""

import json
from collections.abc import Callable, Mapping

from include.bundle.store import ObjectMissing, ObjectStore
from include.locations import Models


def pin_window(
    models: ObjectStore, use_case: str, run_id: str, choose: Callable[[], Mapping[str, str]]
) -> dict[str, str]:
    """Return ``from`` and ``to`` (UTC days, both included) of a run, asking ``choose`` if no try of it has chosen."""
    key = Models(use_case).search_prefix(run_id) + "window.json"
    try:
        kept = models.get(key)
    except ObjectMissing:
        models.put_if_absent(key, json.dumps(dict(choose())).encode())
        kept = models.get(key)
    window: dict[str, str] = json.loads(kept)
    return window
