"""The books: what came in and went out of each stage for each day, and whether it balances.

Counted anew from the landing objects and from the tables, by other code than that which wrote them; no Spark.
A book that does not balance is written as open, with what differs, and stops its task.
"""

import io
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake.exceptions import TableNotFoundError

from include import lake
from include.contracts.contract import Contract
from include.landing import CONNECTIONS, count_rows, list_landing, read_rows, s3_client, source_and_ds
from include.locations import LANDING_BUCKET
from include.tables import BOOK, LABELS, LANDING_FILES, TILES
from include.tombstones import retracted_files
from include.use_case import UseCase

log = logging.getLogger(__name__)

INGEST = "ingest"
PREPROCESS = "preprocess"
LABELLING = "labels"
FEATURES = "features"
SHOWN = 5
#: Days whose subjects are held at once: their ids are, to tell the distinct ones.
DAYS_AT_ONCE = 31


class BookMismatch(ValueError):
    """A book does not balance; the message gives source, day and the numbers, and where they differ."""


@dataclass(frozen=True)
class Entry:
    """One line of a book: ``landed`` came in; the rest says where it went."""

    ds: str
    stage: str
    source: str
    landed: int
    ingested: int
    quarantined: int = 0
    duplicate: int = 0
    detail: str = ""
    #: Rows may be missing on the way out (labels of subjects whose outcome nobody knows).
    may_lack: bool = False

    @property
    def balances(self) -> bool:
        """Whether everything that came in went somewhere, once."""
        out = self.ingested + self.quarantined + self.duplicate
        return out <= self.landed if self.may_lack else out == self.landed

    def numbers(self) -> str:
        """The line for people: day, source and counts."""
        sign = "=" if self.balances else "≠"
        return (
            f"{self.ds} {self.stage} {self.source}: landed {self.landed} {sign} ingested {self.ingested} + "
            f"quarantined {self.quarantined} + duplicate {self.duplicate}"
        )

    def row(self, run_id: str, now: datetime) -> dict[str, Any]:
        """The line as a row of the table ``book``."""
        names = ("ds", "stage", "source", "landed", "ingested", "quarantined", "duplicate", "detail")
        values = {name: getattr(self, name) for name in names}
        return values | {"closed": self.balances, "closed_at": now, "run_id": run_id}


def names_of(days: Iterable[date]) -> list[str]:
    """Days as their ``ds``, in order."""
    return [day.isoformat() for day in sorted(set(days))]


def close_ingest_book(use_case: UseCase, days: Sequence[date], run_id: str) -> list[Entry]:
    """Close the ingest book of some days, or raise ``BookMismatch``: landed = ingested + quarantined + duplicate."""
    landed = count_landed(use_case, days)
    counted = _count_tables(use_case, names_of(days))
    duplicates: Counter[tuple[str, str]] = Counter()
    for row in lake.read_rows(use_case.name, LANDING_FILES.name, ["ds", "source", "duplicate"], names_of(days)):
        duplicates[(row["ds"], row["source"])] += row["duplicate"]
    entries = [
        Entry(
            ds,
            INGEST,
            contract.name,
            landed=landed[(ds, contract.name)],
            ingested=counted["raw"][(ds, contract.name)],
            quarantined=counted["quarantine"][(ds, contract.name)],
            duplicate=duplicates[(ds, contract.name)],
        )
        for ds in names_of(days)
        for contract in use_case.sources
    ]
    return _close(use_case, [_explained(use_case, entry) for entry in entries], run_id)


def count_landed(use_case: UseCase, days: Sequence[date]) -> Counter[tuple[str, str]]:
    """Data rows in the landing objects by (ds, source), read from the objects themselves."""
    client = s3_client()
    keys = list_landing(client, use_case.name, [contract.name for contract in use_case.sources], days)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        counts = list(pool.map(lambda key: count_rows(client, key), keys))
    landed: Counter[tuple[str, str]] = Counter()
    for key, rows in zip(keys, counts, strict=True):
        source, ds = source_and_ds(use_case.name, key)
        landed[(ds, source)] += rows
    return landed


def _count_tables(use_case: UseCase, ds: list[str]) -> Mapping[str, Counter[tuple[str, str]]]:
    """Rows of the raw tables, and rows still in quarantine, by (ds, source)."""
    names = [contract.name for contract in use_case.sources]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        raw = list(pool.map(lambda name: lake.count_by(use_case.name, f"raw_{name}", ["ds"], ds), names))
        quarantine = list(pool.map(lambda name: _still_quarantined(use_case, name, ds), names))
    counted: dict[str, Counter[tuple[str, str]]] = {"raw": Counter(), "quarantine": Counter()}
    for source, rows, places in zip(names, raw, quarantine, strict=True):
        for (day,), count in rows.items():
            counted["raw"][(day, source)] = count
        for (_, _, day), count in places.items():
            counted["quarantine"][(day, source)] += count
    return counted


Places = Mapping[tuple[str, int, str], int]


def _places(use_case: UseCase, table: str, ds: Sequence[str], where: pc.Expression | None = None) -> Places:
    """Rows of a table by landing file, line and day, of those for which ``where`` holds."""
    found = lake.count_by(use_case.name, table, ["landing_key", "landing_line", "ds"], ds, where)
    return {(str(key), int(line), str(day)): count for (key, line, day), count in found.items()}


def _still_quarantined(use_case: UseCase, source: str, ds: Sequence[str]) -> Places:
    """The rows of a quarantine table that have not been released."""
    quarantined = _places(use_case, f"quarantine_{source}", ds)
    if not quarantined:
        return {}
    keys, lines, days = (sorted(set(column)) for column in zip(*quarantined, strict=True))
    # Not one row more than may be meant: a bad line in each day of a year leads to all files of that year.
    meant = pc.field("landing_key").isin(keys) & pc.field("landing_line").isin(lines)
    return unreleased(quarantined, _places(use_case, f"raw_{source}", days, meant))


def unreleased(quarantined: Places, raw: Places) -> Places:
    """Of the quarantined rows those whose file and line are not in raw: a released row stays in quarantine too."""
    return {place: count for place, count in quarantined.items() if place not in raw}


def _explained(use_case: UseCase, entry: Entry) -> Entry:
    """Add to an entry that does not balance which lines differ."""
    if entry.balances:
        return entry
    landed = _landed_lines(use_case, entry)
    tables: Counter[tuple[str, int]] = Counter()
    for places in (
        _places(use_case, f"raw_{entry.source}", [entry.ds]),
        _still_quarantined(use_case, entry.source, [entry.ds]),
    ):
        tables.update({(key, line): count for (key, line, _), count in places.items()})
    return Entry(**{**vars(entry), "detail": difference(landed, tables, entry.duplicate)})


def _landed_lines(use_case: UseCase, entry: Entry) -> set[tuple[str, int]]:
    """File and line of every row landed for one source and day."""
    client = s3_client()
    keys = list_landing(client, use_case.name, [entry.source], [date.fromisoformat(entry.ds)])
    lines = set()
    for key in keys:
        content = io.BytesIO(client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read())
        lines |= {(key, row.line) for row in read_rows(key, content)}
    return lines


def difference(landed: set[tuple[str, int]], tables: Mapping[tuple[str, int], int], duplicates: int) -> str:
    """Where landing and tables differ, by file and line; duplicates have no line in any table."""
    twice = sorted(line for line, count in tables.items() if count > 1)
    unknown = sorted(set(tables) - landed)
    missing = sorted(landed - set(tables))
    parts = []
    if twice:
        parts.append(f"{len(twice)} lines are in the tables more than once: {_lines(twice)}")
    if unknown:
        parts.append(f"{len(unknown)} rows come from no landed line: {_lines(unknown)}")
    if len(missing) != duplicates:
        parts.append(
            f"{len(missing)} landed lines are in no table ({duplicates} duplicates expected): {_lines(missing)}"
        )
    return "; ".join(parts)


def _lines(lines: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{key} line {line}" for key, line in lines[:SHOWN])
    return shown + (", ..." if len(lines) > SHOWN else "")


def _close(use_case: UseCase, entries: list[Entry], run_id: str) -> list[Entry]:
    """Write the entries; raise ``BookMismatch`` if any does not balance."""
    now = datetime.now(UTC)
    lake.merge_rows(use_case.name, BOOK, [entry.row(run_id, now) for entry in entries], update="all")
    wrong = [entry for entry in entries if not entry.balances]
    for entry in wrong:
        log.error("%s %s", entry.numbers(), entry.detail)
    if wrong:
        text = "; ".join(f"{entry.numbers()} ({entry.detail})" for entry in wrong)
        raise BookMismatch(f"{len(wrong)} of {len(entries)} books do not balance: {text}")
    log.info("%d books closed, %d rows landed", len(entries), sum(entry.landed for entry in entries))
    return entries


def close_preprocess_book(use_case: UseCase, days: Sequence[date], run_id: str) -> list[Entry]:
    """Close the preprocess book: every subject of a day has one row of features; so does each labels day once."""
    labelled = [date.fromisoformat(ds) for ds in closed_label_days(use_case, days)]
    subjects = subjects_by_day(use_case, sorted({*days, *labelled}))
    features = lake.count_by(use_case.name, FEATURES, ["ds"], names_of(days))
    tiles = lake.count_by(use_case.name, TILES.name, ["ds"], names_of(days))
    labels = lake.count_by(use_case.name, LABELS.name, ["ds"], names_of(labelled)) if labelled else {}
    entries = [Entry(ds, PREPROCESS, FEATURES, subjects[ds], features.get((ds,), 0)) for ds in names_of(days)]
    entries += [Entry(ds, PREPROCESS, TILES.name, count := tiles.get((ds,), 0), count) for ds in names_of(days)]
    entries += [_labels_entry(ds, subjects[ds], labels.get((ds,), 0)) for ds in names_of(labelled)]
    return _close(use_case, entries, run_id)


def _labels_entry(ds: str, subjects: int, labels: int) -> Entry:
    detail = f"{subjects - labels} subjects without a known outcome" if labels < subjects else ""
    return Entry(ds, LABELLING, LABELS.name, subjects, labels, detail=detail, may_lack=True)


def subjects_by_day(use_case: UseCase, days: Sequence[date]) -> Counter[str]:
    """Distinct subjects by the UTC day of their default prediction time, counted from the raw facts, span by span."""
    contract = use_case.source(use_case.subject_source)
    facts = lake.dataset(use_case.name, f"raw_{contract.name}", names_of(_announced(contract, days)))
    withdrawn, counts = retracted_files(use_case.name, contract.name), Counter[str]()
    for start in range(0, len(days), DAYS_AT_ONCE):
        counts += _subjects_of(use_case, days[start : start + DAYS_AT_ONCE], facts, withdrawn)
    return counts


def _announced(contract: Contract, days: Sequence[date]) -> list[date]:
    """The days whose facts can be about a subject of these days."""
    return [day - timedelta(days=n) for day in days for n in range(contract.announced_days + 1)]


def _subjects_of(
    use_case: UseCase, days: Sequence[date], facts: pads.Dataset, withdrawn: Sequence[str]
) -> Counter[str]:
    contract, wanted = use_case.source(use_case.subject_source), set(names_of(days))
    counting = pc.field("ds").isin(names_of(_announced(contract, days)))
    if withdrawn:
        counting &= ~pc.field("landing_key").isin(withdrawn)
    found = facts.to_table(columns=[contract.key, use_case.subject_time, "ds"], filter=counting)
    lead = pa.scalar(timedelta(minutes=use_case.prediction_lead_minutes))
    day = pc.subtract(found[use_case.subject_time], lead).cast(pa.date32())
    ahead = pc.days_between(found["ds"].cast(pa.string()).cast(pa.date32()), day)
    in_time = pc.and_(pc.greater_equal(ahead, 0), pc.less_equal(ahead, contract.announced_days))
    dated = pa.table({"ds": day.cast(pa.string()), "subject": found[contract.key]}).filter(in_time)
    counts = dated.group_by("ds").aggregate([("subject", "count_distinct")]).to_pylist()
    return Counter({row["ds"]: row["subject_count_distinct"] for row in counts if row["ds"] in wanted})


def closed_days(use_case: UseCase, stage: str) -> set[str]:
    """The days whose book of a stage is closed for everything that belongs to it."""
    rows = lake.read_rows(use_case.name, BOOK.name, ["ds", "stage", "source", "closed"])
    return closed_in(rows, stage, expected_sources(use_case, stage))


def closed_since(use_case: UseCase, stage: str) -> dict[str, datetime]:
    """The closed days of a stage, each with the time (UTC) at which its oldest line was closed, for the last time."""
    rows = lake.read_rows(use_case.name, BOOK.name, ["ds", "stage", "source", "closed", "closed_at"])
    sources = expected_sources(use_case, stage)
    closed = closed_in(rows, stage, sources)
    found: dict[str, datetime] = {}
    for row in rows:
        if row["stage"] == stage and row["source"] in sources and row["ds"] in closed:
            found[row["ds"]] = min(found.get(row["ds"], row["closed_at"]), row["closed_at"])
    return found


def closed_so_far(use_case: UseCase, stage: str) -> set[str]:
    """As ``closed_days``; none while the first ingest has not made the tables."""
    try:
        return closed_days(use_case, stage)
    except TableNotFoundError:
        return set()


def last_closed(use_case: UseCase, stage: str) -> datetime | None:
    """When a book of a stage was last closed, UTC, for the first time or again; ``None``: never."""
    return newest_closing(lake.read_rows(use_case.name, BOOK.name, ["stage", "closed", "closed_at"]), stage)


def newest_closing(rows: Iterable[Mapping[str, Any]], stage: str) -> datetime | None:
    """The latest ``closed_at`` of a stage's closed lines."""
    return max((row["closed_at"] for row in rows if row["stage"] == stage and row["closed"]), default=None)


def expected_sources(use_case: UseCase, stage: str) -> set[str]:
    """What a stage's book of one day must have lines for."""
    if stage == INGEST:
        return {contract.name for contract in use_case.sources}
    return {FEATURES, TILES.name} if stage == PREPROCESS else {LABELS.name}


def closed_in(rows: Iterable[Mapping[str, Any]], stage: str, sources: set[str]) -> set[str]:
    """The days for which every source has a closed line of the stage."""
    closed: dict[str, set[str]] = {}
    for row in rows:
        if row["stage"] == stage and row["closed"]:
            closed.setdefault(str(row["ds"]), set()).add(str(row["source"]))
    return {ds for ds, found in closed.items() if sources <= found}


def days_needed(use_case: UseCase, day: date) -> list[date]:
    """The days whose facts the windows of ``day`` reach into, from ``history_start`` on, ``day`` included."""
    first = max(use_case.history_start, day - timedelta(days=use_case.history_days))
    return [first + timedelta(days=n) for n in range((day - first).days + 1)]


def earlier_days_open(use_case: UseCase, days: Sequence[date]) -> list[str]:
    """The days that some days need and whose ingest book is not closed; empty means that they can be preprocessed."""
    closed = closed_days(use_case, INGEST)
    needed = {day for one in days for day in days_needed(use_case, one)}
    return [ds for ds in names_of(sorted(needed)) if ds not in closed]


def label_days(use_case: UseCase, days: Sequence[date]) -> list[date]:
    """The days whose horizon ends with one of ``days``, none before ``history_start``."""
    horizon = timedelta(days=use_case.label_horizon_days)
    return sorted({day - horizon for day in days if day - horizon >= use_case.history_start})


def closed_label_days(use_case: UseCase, days: Sequence[date]) -> list[str]:
    """Of ``label_days`` those whose own day and horizon are ingested and closed."""
    closed = closed_days(use_case, INGEST)
    return [
        day.isoformat()
        for day in label_days(use_case, days)
        if all((day + timedelta(days=n)).isoformat() in closed for n in range(use_case.label_horizon_days + 1))
    ]
