"""The memory of the counting fold across restarts: one entry a micro-batch, and now and then the whole state.

It lies beside Spark's checkpoint. Spark runs the batch that a crash interrupted once more, with the same offsets;
``restore`` gives the state as it was before that batch, so it is counted once. An entry holds only the arrivals that
changed the state, so that what a batch costs does not grow with what is remembered. It does not know what is counted.
"""

import msgspec

from include.bundle.store import ObjectStore
from include.streaming.counting import Arrival, Counted, SourceState, State, count

SNAPSHOT_EVERY = 200
SNAPSHOT, ENTRY = "snapshot-", "batch-"


class JournalGap(RuntimeError):
    """The journal lacks a batch that Spark has committed; the message says which and what to do."""


class Entry(msgspec.Struct, frozen=True):
    """What one batch changed: arrivals in order (without their texts), and the counts of each source after it."""

    arrivals: list[Arrival]
    counts: dict[str, dict[str, int]]


_state_decoder = msgspec.json.Decoder(State)
_entry_decoder = msgspec.json.Decoder(Entry)


class Journal:
    """Entries and snapshots under ``prefix`` of a store."""

    def __init__(self, store: ObjectStore, prefix: str = "journal/", snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._store = store
        self._prefix = prefix
        self._every = snapshot_every

    def restore(self, batch: int) -> State:
        """The state before ``batch``; raises ``JournalGap`` if an earlier batch is not in the journal."""
        if batch == 0:
            return {}
        snapshots = [number for number in self._numbers(SNAPSHOT) if number < batch]
        state: State = {}
        start = 0
        if snapshots:
            state = _state_decoder.decode(self._store.get(self._key(SNAPSHOT, snapshots[-1])))
            start = snapshots[-1] + 1
        missing = sorted(set(range(start, batch)) - set(self._numbers(ENTRY)))
        if missing:
            raise JournalGap(
                f"the stream's journal at {self._store.url}/{self._prefix} lacks batch {missing[0]}, which Spark's "
                "checkpoint has: remove both (facts are then counted again from the start of their topics)"
            )
        for number in range(start, batch):
            _apply(state, _entry_decoder.decode(self._store.get(self._key(ENTRY, number))))
        return state

    def write(self, batch: int, changes: list[Arrival], state: State) -> None:
        """Keep what ``batch`` changed (see ``changes_of``); now and then the whole state, in place of older ones."""
        counts = {name: dict(source.counts) for name, source in state.items()}
        self._store.put(self._key(ENTRY, batch), msgspec.json.encode(Entry(changes, counts)))
        if batch % self._every == self._every - 1:
            self._store.put(self._key(SNAPSHOT, batch), msgspec.json.encode(state))
            self._prune(batch)

    def _prune(self, batch: int) -> None:
        """Drop what lies before the snapshot before the newest: the batch just written may be run again."""
        kept = [number for number in self._numbers(SNAPSHOT) if number < batch][-1:]
        for kind in (SNAPSHOT, ENTRY):
            for number in self._numbers(kind):
                if kept and (number < kept[0] or (kind == ENTRY and number == kept[0])):
                    self._store.delete(self._key(kind, number))

    def _numbers(self, kind: str) -> list[int]:
        prefix = self._prefix + kind
        return [int(key.removeprefix(prefix).removesuffix(".json")) for key in self._store.keys(prefix)]

    def _key(self, kind: str, batch: int) -> str:
        return f"{self._prefix}{kind}{batch:012d}.json"


def changes_of(arrivals: list[Arrival], counted: Counted) -> list[Arrival]:
    """The arrivals that changed the state: heartbeats, counted and late facts, in order, without their texts."""
    kept = {id(judged.arrival) for judged in counted.judged if judged.outcome in ("counted", "late")}
    return [
        msgspec.structs.replace(arrival, record="")
        for arrival in arrivals
        if arrival.heartbeat is not None or id(arrival) in kept
    ]


def _apply(state: State, entry: Entry) -> None:
    count(state, entry.arrivals)
    for name, counts in entry.counts.items():
        state.setdefault(name, SourceState()).counts = dict(counts)
