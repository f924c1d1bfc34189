"""Why candidates were refused: one JSON object for each candidate and run of the gate, in the models bucket.

    python -m include.refusals [--use-case NAME]        lists them, newest first

It lies beside the bundles and not in them, since a bundle never changes. Whoever passed is in the ledger, with reasons.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from include.bundle.store import ObjectStore, S3Store, get_all
from include.gate import Check
from include.locations import MODELS_BUCKET, Models
from include.settings import S3Settings
from include.use_cases import chosen_use_case


@dataclass(frozen=True)
class Refusal:
    """One refusal. ``time`` is RFC 3339 in UTC, ``champion`` the model it was compared with (``None``: none)."""

    model_id: str
    time: str
    run_id: str
    actor: str
    champion: str | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)

    def words(self) -> str:
        """For people: when, which, why."""
        return "\n".join([f"{self.time} {self.model_id} (run {self.run_id})", *(f"  - {why}" for why in self.reasons)])


def keep(store: ObjectStore, use_case: str, refusal: Refusal) -> str:
    """Write a refusal and return its key; the same run again replaces its own."""
    key = Models(use_case).refusal_key(refusal.model_id, refusal.run_id)
    store.put(key, json.dumps(asdict(refusal), sort_keys=True, allow_nan=False).encode())
    return key


def read_refusals(store: ObjectStore, use_case: str, model_id: str = "") -> list[Refusal]:
    """The refusals of one candidate, or of all, newest first."""
    prefix = Models(use_case).refusals_prefix + (f"{model_id}/" if model_id else "")
    found = [_refusal(json.loads(data)) for data in get_all(store, store.keys(prefix))]
    return sorted(found, key=lambda refusal: refusal.time, reverse=True)


def _refusal(document: dict[str, Any]) -> Refusal:
    checks = tuple(Check(**check) for check in document["checks"])
    texts = {name: tuple(document[name]) for name in ("reasons", "notes")}
    return Refusal(**{**document, **texts, "checks": checks})


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: prints every refusal."""
    parser = argparse.ArgumentParser(description="List the candidates that the gate has refused, and why.")
    parser.add_argument("--use-case", default=chosen_use_case(os.environ))
    use_case = parser.parse_args(arguments).use_case
    for refusal in read_refusals(S3Store(S3Settings.from_environment(), MODELS_BUCKET), use_case):
        print(refusal.words())


if __name__ == "__main__":
    main()
