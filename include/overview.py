"""What has been decided and what needs somebody: champions, refusals, books, quarantine, withdrawn days.

Gathered for one page. What it shows is bounded (but for bundles that nobody has judged); what is read for it grows with
the history: each line of the ledger, refusal and retraction, the whole book, the files that had rejected rows, the key
of each object of a bundle. It only reads: the models bucket and the lake. It does not know who looks at it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow.compute as pc
from deltalake.exceptions import TableNotFoundError

from include.bundle.store import ObjectStore
from include.ledger import Entry, read_ledger
from include.locations import Models
from include.refusals import Refusal, read_refusals
from include.retraction import read_events
from include.tables import BOOK, LANDING_FILES
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
    """A source's rejected rows of a day, but for those that were released or whose file is withdrawn.

    ``reasons`` are the most frequent of the first ``SAMPLED`` of them.
    """

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
    """Read everything, at each call; what there is not yet is empty."""
    ledger = tuple(reversed(read_ledger(models, use_case.name)))
    refusals = read_refusals(models, use_case.name)
    known = {entry.model_id for entry in ledger} | {refusal.model_id for refusal in refusals}
    lines = _rows(tables, BOOK.name)
    days = tuple(sorted({line["ds"] for line in lines}, reverse=True)[:DAYS])
    books = {(line["ds"], line["stage"], line["source"]): line for line in lines if line["ds"] in days}
    events = sorted(read_events(tables), key=lambda event: event["time"], reverse=True)
    withdrawn = frozenset(retracted_keys(events))
    return Overview(
        skill=use_case.target.skill,
        champion=ledger[0] if ledger else None,
        ledger=ledger[:LINES],
        refusals=tuple(refusals[:LINES]),
        unjudged=tuple(sorted(_bundles(models, use_case.name) - known)),
        days=days,
        columns=tuple(sorted({(stage, source) for _, stage, source in books}, key=_order)),
        books=books,
        quarantine=tuple(_quarantine(tables, withdrawn)),
        withdrawals=tuple(events[:LINES]),
        withdrawn=withdrawn,
    )


def _order(column: tuple[str, str]) -> tuple[int, str]:
    """The stages in the order of the data flow."""
    stages = ("ingest", "preprocess", "labels", "scoring")
    return (stages.index(column[0]) if column[0] in stages else len(stages), column[1])


def _bundles(models: ObjectStore, use_case: str) -> set[str]:
    prefix = Models(use_case).bundles_prefix
    keys = (key.removeprefix(prefix) for key in models.keys(prefix) if key.endswith("/manifest.json"))
    return {key.partition("/")[0] for key in keys}


def _rows(
    tables: Tables, table: str, columns: list[str] | None = None, where: pc.Expression | None = None
) -> list[dict[str, Any]]:
    """Some columns of the rows for which ``where`` holds; none of a table that is not there yet."""
    try:
        dataset = tables.open(table).to_pyarrow_dataset()
    except TableNotFoundError:
        return []
    return list(dataset.to_table(columns=columns, filter=where).to_pylist())


def _quarantine(tables: Tables, withdrawn: Set[str]) -> list[Quarantined]:
    """The newest days with rejected rows. A release leaves them there, and tells ``landing_files`` what is left."""
    columns = ["ds", "source", "landing_key", "quarantined"]
    files: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for file in _rows(tables, LANDING_FILES.name, columns, pc.field("quarantined") > 0):
        if file["landing_key"] not in withdrawn:
            files[(file["ds"], file["source"])][file["landing_key"]] = file["quarantined"]
    return [
        Quarantined(source, ds, sum(rejected.values()), _reasons(tables, source, ds, list(rejected)))
        for (ds, source), rejected in sorted(files.items(), reverse=True)[:LINES]
    ]


def _reasons(tables: Tables, source: str, ds: str, files: Sequence[str]) -> tuple[str, ...]:
    place = ["landing_key", "landing_line"]
    of_files = pc.field("landing_key").isin(files)
    raw, rejected = (
        tables.open(f"{kind}_{source}").to_pyarrow_dataset(partitions=[("ds", "=", ds)])
        for kind in ("raw", "quarantine")
    )
    lines = rejected.to_table(columns=["landing_line"], filter=of_files).column(0).unique()
    # Not one row more than may be meant: the file of a bad line may have a million good ones.
    meant = of_files & pc.field("landing_line").isin(lines)
    released = {tuple(row.values()) for row in raw.to_table(columns=place, filter=meant).to_pylist()}
    rows = (
        row
        for batch in rejected.to_batches(columns=[*place, "reasons"], filter=of_files)
        for row in batch.to_pylist()
        if (row["landing_key"], row["landing_line"]) not in released
    )
    counted = Counter(reason for row in islice(rows, SAMPLED) for reason in row["reasons"] or ())
    return tuple(f"{reason} ({count})" for reason, count in counted.most_common(REASONS))
