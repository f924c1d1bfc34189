"""What has been decided and what needs somebody: champions, refusals, books, quarantine, withdrawn days.

Gathered for one page, and bounded, however long the history is. It only reads: the models bucket and the lake. It does
not know who looks at it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from include.bundle.store import ObjectStore
from include.ledger import Entry, read_ledger
from include.locations import Models
from include.refusals import Refusal, read_refusals
from include.retraction import read_events
from include.tables import BOOK
from include.target import Metric
from include.tombstones import retracted_keys
from include.training.dataset import Tables
from include.use_case import UseCase

#: So many of the newest are shown of each kind.
LINES, DAYS = 30, 14
#: Rejected rows of a day whose reasons are counted.
SAMPLED = 1000
REASONS = 3


@dataclass(frozen=True)
class Quarantined:
    """A source's rejected rows of a day. ``reasons`` are the most frequent of the first ``SAMPLED`` rows."""

    source: str
    ds: str
    rows: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """All sections, each newest first. ``books`` are lines by (day, stage, source), ``columns`` its (stage, source)
    pairs; ``unjudged`` are bundles that neither the ledger nor a refusal names; ``skill`` is what leads the figures."""

    skill: Metric
    champion: Entry | None
    ledger: tuple[Entry, ...]
    refusals: tuple[Refusal, ...]
    unjudged: tuple[str, ...]
    days: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    books: Mapping[tuple[str, str, str], Mapping[str, Any]]
    quarantine: tuple[Quarantined, ...]
    withdrawals: tuple[Mapping[str, Any], ...]
    withdrawn: frozenset[str]

    @property
    def broken(self) -> list[Mapping[str, Any]]:
        """The lines that do not balance."""
        return [line for line in self.books.values() if not line["closed"]]


def gather(tables: Tables, models: ObjectStore, use_case: UseCase) -> Overview:
    """Read everything; what there is not yet is empty."""
    ledger = tuple(reversed(read_ledger(models, use_case.name)))
    refusals = read_refusals(models, use_case.name)
    known = {entry.model_id for entry in ledger} | {refusal.model_id for refusal in refusals}
    lines = _book(tables)
    days = tuple(sorted({line["ds"] for line in lines}, reverse=True)[:DAYS])
    books = {(line["ds"], line["stage"], line["source"]): line for line in lines if line["ds"] in days}
    events = sorted(read_events(tables), key=lambda event: event["time"], reverse=True)
    return Overview(
        skill=use_case.target.skill,
        champion=ledger[0] if ledger else None,
        ledger=ledger[:LINES],
        refusals=tuple(refusals[:LINES]),
        unjudged=tuple(sorted(_bundles(models, use_case.name) - known)),
        days=days,
        columns=tuple(sorted({(stage, source) for _, stage, source in books}, key=_order)),
        books=books,
        quarantine=tuple(_quarantine(tables, use_case)),
        withdrawals=tuple(events[:LINES]),
        withdrawn=frozenset(retracted_keys(events)),
    )


def _order(column: tuple[str, str]) -> tuple[int, str]:
    """The stages in the order of the data flow."""
    stages = ("ingest", "preprocess", "labels", "scoring")
    return (stages.index(column[0]) if column[0] in stages else len(stages), column[1])


def _bundles(models: ObjectStore, use_case: str) -> set[str]:
    prefix = Models(use_case).bundles_prefix
    keys = (key.removeprefix(prefix) for key in models.keys(prefix) if key.endswith("/manifest.json"))
    return {key.partition("/")[0] for key in keys}


def _book(tables: Tables) -> Sequence[Mapping[str, Any]]:
    try:
        found: list[dict[str, Any]] = tables.open(BOOK.name).to_pyarrow_table().to_pylist()
    except TableNotFoundError:
        return []
    return found


def _quarantine(tables: Tables, use_case: UseCase) -> list[Quarantined]:
    """The newest days with rejected rows; how many there are says the table's log, without opening a data file."""
    counts: Counter[tuple[str, str]] = Counter()
    for contract in use_case.sources:
        try:
            actions = pa.table(tables.open(f"quarantine_{contract.name}").get_add_actions(flatten=True))
        except TableNotFoundError:
            continue
        days, rows = (actions[name].to_pylist() for name in ("partition.ds", "num_records"))
        for ds, count in zip(days, rows, strict=True):
            counts[(ds, contract.name)] += int(count)
    newest = sorted((place for place, rows in counts.items() if rows), reverse=True)[:LINES]
    return [Quarantined(source, ds, counts[(ds, source)], _reasons(tables, source, ds)) for ds, source in newest]


def _reasons(tables: Tables, source: str, ds: str) -> tuple[str, ...]:
    dataset = tables.open(f"quarantine_{source}").to_pyarrow_dataset(partitions=[("ds", "=", ds)])
    some = dataset.head(SAMPLED, columns=["reasons"]).column("reasons").to_pylist()
    counted = Counter(reason for reasons in some for reason in reasons or ())
    return tuple(f"{reason} ({count})" for reason, count in counted.most_common(REASONS))
