"""The append-only list of promotions and rollbacks in the models bucket; its last line names the champion.

One object a line, numbered from 1, each written by a conditional put: of many writers who saw the same head, one wins
and the others are told who did. It does not know why a model is promoted.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from include.bundle.store import ObjectStore, get_all
from include.locations import MODELS_BUCKET, Models

Event = Literal["promoted", "rolled_back"]


class LedgerConflict(RuntimeError):
    """Another writer appended first; ``head`` is the ledger's last line now. Read again and decide again."""

    def __init__(self, head: "Entry") -> None:
        super().__init__(f"the ledger moved on: line {head.sequence} says {head.model_id[:12]} ({head.event})")
        self.head = head


class LedgerBroken(RuntimeError):
    """The ledger's lines are not numbered 1, 2, 3, ...: somebody removed or added objects by hand."""


@dataclass(frozen=True)
class Entry:
    """One line. ``time`` is RFC 3339 in UTC; ``parent_id`` is the champion before (``None`` for the first)."""

    sequence: int
    time: str
    event: Event
    model_id: str
    parent_id: str | None
    actor: str
    reason: str
    run_id: str
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The line as a JSON object."""
        return asdict(self)


def read_ledger(store: ObjectStore, use_case: str) -> list[Entry]:
    """Every line in order; raises ``LedgerBroken`` if the numbering has a gap."""
    return [_entry(data) for data in get_all(store, _keys(store, use_case))]


def champion(store: ObjectStore, use_case: str) -> Entry | None:
    """The last line, which names the champion; ``None`` while there is none."""
    keys = _keys(store, use_case)
    return _entry(store.get(keys[-1])) if keys else None


def append(store: ObjectStore, use_case: str, entry: Entry) -> Entry:
    """Append a line whose ``sequence`` follows the head that the caller decided on.

    Raises ``LedgerConflict`` if there is already such a line: the caller reads the new head and decides again.
    """
    if entry.sequence != len(_keys(store, use_case)) + 1:
        raise _conflict(store, use_case, entry)
    key = line_key(use_case, entry.sequence)
    data = json.dumps(entry.to_json(), sort_keys=True, allow_nan=False).encode()
    if not store.put_if_absent(key, data):
        raise _conflict(store, use_case, entry)
    return entry


def announcement(use_case: str, entry: Entry) -> tuple[str, dict[str, Any]]:
    """The message (key, value) that tells the models topic of a line: there the newest one per use case counts."""
    value = {
        "event": entry.event,
        "use_case": use_case,
        "model_id": entry.model_id,
        "bundle": f"s3://{MODELS_BUCKET}/{Models(use_case).bundle_prefix(entry.model_id)}",
        "sequence": entry.sequence,
        "metrics": entry.metrics,
        "run_id": entry.run_id,
        "time": entry.time,
    }
    return use_case, value


def line_key(use_case: str, sequence: int) -> str:
    """The object key of a line."""
    return f"{Models(use_case).ledger_prefix}{sequence:08d}.json"


def _conflict(store: ObjectStore, use_case: str, entry: Entry) -> Exception:
    head = champion(store, use_case)
    if head is None or head.sequence < entry.sequence:
        return LedgerBroken(f"line {entry.sequence} does not follow the ledger's head")
    return LedgerConflict(head)


def _keys(store: ObjectStore, use_case: str) -> list[str]:
    keys = store.keys(Models(use_case).ledger_prefix)
    if keys != [line_key(use_case, i + 1) for i in range(len(keys))]:
        raise LedgerBroken(f"the ledger of {use_case!r} in {store.url} is not numbered 1 to {len(keys)}")
    return keys


def _entry(data: bytes) -> Entry:
    return Entry(**json.loads(data))
