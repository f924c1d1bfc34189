"""Retractions: a source's day is withdrawn after a human error, by appending tombstones; nothing in raw is deleted.

A tombstone names a landing file, so a corrected file of the same day, delivered afterwards, counts; a ``restored``
event brings a file's facts back. A model is *touched* if rows of its window were derived while withdrawn facts were
there. It does not know Spark, the ledger, nor Airflow.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import TableNotFoundError

from include import lake
from include.impact import impact_of, span
from include.tables import LABELS, LANDING_FILES, RETRACTIONS
from include.tombstones import Event, retracted_keys
from include.training.dataset import Tables
from include.use_case import UseCase

FEATURES = "features"
SHOWN = 5


class RetractionRefused(ValueError):
    """Nothing was withdrawn or restored; the message says why. Trying again gives the same answer."""


@dataclass(frozen=True)
class Withdrawal:
    """A landing file whose facts are withdrawn since ``since``; they had been in raw from ``ingested_at`` on (UTC)."""

    source: str
    ds: str
    landing_key: str
    ingested_at: datetime
    since: datetime

    def words(self) -> str:
        """For people: source and day."""
        return f"{self.source} of {self.ds}"


def read_events(tables: Tables) -> list[dict[str, Any]]:
    """Every tombstone and its revocations; none while there is no such table."""
    return _rows(tables, RETRACTIONS.name)


def withdrawals(tables: Tables) -> list[Withdrawal]:
    """Everything that is withdrawn now."""
    active = retracted_keys(read_events(tables))
    if not active:
        return []
    ingested = _ingested(tables)
    return [
        Withdrawal(event["source"], event["ds"], key, ingested[key], event["time"])
        for key, event in sorted(active.items())
    ]


def to_withdraw(tables: Tables, source: str, day: date, now: datetime, file: str = "") -> list[Withdrawal]:
    """The files of a source's day (or one of them) that are ingested and not withdrawn. Raises if there are none."""
    files = _files(tables, source, day)
    ingested = [row for row in files if _is_named(str(row["landing_key"]), file)]
    if not ingested:
        raise RetractionRefused(f"no file of {_words(source, day, file)} was ingested: there is nothing to retract")
    active = retracted_keys(read_events(tables))
    found = [
        Withdrawal(source, day.isoformat(), str(row["landing_key"]), row["ingested_at"], now)
        for row in ingested
        if row["landing_key"] not in active
    ]
    if not found:
        raise RetractionRefused(f"every file of {_words(source, day, file)} is retracted already")
    if repeats := _repeating(files, found, active):
        raise RetractionRefused(
            f"rows of {', '.join(repeats[:SHOWN])} were counted as repeats of what other files had, and would go with "
            f"{', '.join(one.landing_key for one in found[:SHOWN])}: retract those files too, then deliver what is "
            "right in new files"
        )
    return sorted(found, key=lambda one: one.landing_key)


def _repeating(files: Iterable[Mapping[str, Any]], found: Sequence[Withdrawal], active: Collection[str]) -> list[str]:
    """The files that stay and may have brought facts of ``found`` again: a repeat lies in no table."""
    gone, first = {one.landing_key for one in found}, min(one.ingested_at for one in found)
    return sorted(
        str(row["landing_key"])
        for row in files
        if row["landing_key"] not in gone
        and row["landing_key"] not in active
        and row["duplicate"]
        and row["ingested_at"] >= first
    )


def to_restore(tables: Tables, use_case: UseCase, source: str, day: date, file: str = "") -> list[Withdrawal]:
    """The withdrawn files of a source's day, or one of them; raises if there are none, or a fact would count twice."""
    withdrawn = withdrawals(tables)
    found = [
        one
        for one in withdrawn
        if (one.source, one.ds) == (source, day.isoformat()) and _is_named(one.landing_key, file)
    ]
    if not found:
        raise RetractionRefused(f"nothing of {_words(source, day, file)} is retracted: there is nothing to restore")
    keys = {one.landing_key for one in found}
    others = {one.landing_key for one in withdrawn} - keys
    twice = files_of_several(tables, use_case.source(source).key, source, day, keys, others)
    if twice:
        files = sorted({name for names in twice.values() for name in names})
        raise RetractionRefused(
            f"{len(twice)} facts of {source} for {day} lie in several files ({', '.join(files[:SHOWN])}), such as "
            f"{', '.join(sorted(twice)[:SHOWN])}: restoring would have them twice. Name the file to restore, and "
            "retract first what counts now"
        )
    return found


def recorded(tables: Tables, run_id: str) -> list[Withdrawal]:
    """What a run has withdrawn or restored before, for a task of it that is run again."""
    ingested = _ingested(tables)
    return [
        Withdrawal(event["source"], event["ds"], event["landing_key"], ingested[event["landing_key"]], event["time"])
        for event in sorted(read_events(tables), key=lambda event: str(event["landing_key"]))
        if event["run_id"] == run_id
    ]


def choose(
    tables: Tables, use_case: UseCase, event: Event, source: str, day: date, run_id: str, now: datetime, file: str = ""
) -> list[Withdrawal]:
    """The files that a run is about: those it has recorded before, or else those that it can withdraw or restore.

    ``file`` is the name of one of the day's files; without it all are meant. Raises ``RetractionRefused``.
    """
    before = recorded(tables, run_id)
    if before:
        return before
    if event == "retracted":
        return to_withdraw(tables, source, day, now, file)
    return to_restore(tables, use_case, source, day, file)


def files_of_several(
    tables: Tables, key: str, source: str, day: date, files: Collection[str], ignored: Collection[str]
) -> dict[str, set[str]]:
    """Of the facts in some files of a day those that lie in several files of any day: id -> the files' keys.

    ``ignored`` are files whose facts do not count.
    """
    raw, columns = tables.open(f"raw_{source}"), [key, "landing_key"]
    own = raw.to_pyarrow_dataset(partitions=[("ds", "=", day.isoformat())])
    ids = own.to_table(columns=[key], filter=_lies_in(files)).column(key).unique()
    counting = pc.field(key).isin(ids) & ~_lies_in(ignored)
    found: dict[str, set[str]] = {}
    for fact in raw.to_pyarrow_dataset().to_table(columns=columns, filter=counting).to_pylist():
        found.setdefault(fact[key], set()).add(fact["landing_key"])
    return {name: where for name, where in found.items() if len(where) > 1}


def events_for(
    found: Iterable[Withdrawal], event: Event, reason: str, actor: str, run_id: str, now: datetime
) -> list[dict[str, Any]]:
    """Rows of the table ``retractions``; the same run gives the same identities."""
    return [
        {
            "retraction_id": f"{run_id}:{event}:{one.landing_key}",
            "time": now,
            "event": event,
            "source": one.source,
            "landing_key": one.landing_key,
            "reason": reason,
            "actor": actor,
            "run_id": run_id,
            "ds": one.ds,
        }
        for one in found
    ]


def record(
    use_case: str, found: Iterable[Withdrawal], event: Event, reason: str, actor: str, run_id: str, now: datetime
) -> None:
    """Append the events to the table; those that it has (the same run before) are left as they are."""
    rows = events_for(found, event, reason, actor, run_id, now)
    try:
        lake.merge_rows(use_case, RETRACTIONS, rows)
    except TableNotFoundError as error:
        raise RetractionRefused(
            f"there is no table {RETRACTIONS.name} yet: any ingest makes it (trigger ingest_window for a known day)"
        ) from error


def touched_days(
    tables: Tables, use_case: UseCase, lineage: Mapping[str, Any], found: Sequence[Withdrawal]
) -> dict[str, list[str]]:
    """The days of a model's training, validation and test that hold withdrawn facts, by ``source of day``.

    ``lineage`` is a bundle's: days and pinned versions. A row of features or labels holds them if it was derived while
    they were in raw and not yet withdrawn; when that was is read from the pinned tables' own histories. A model whose
    lineage names no days may hold anything, and is touched by all.
    """
    if "split" not in lineage:
        return {one.words(): [one.ds] for one in found}
    days = {day for part in lineage["split"].values() for day in part["days"]}
    derived = Derivations(tables, lineage["tables"])
    touched: dict[str, set[str]] = {}
    for one in found:
        impact = impact_of(use_case, one.source, date.fromisoformat(one.ds))
        for table, reach in ((FEATURES, impact.features), (LABELS.name, impact.labels)):
            wanted = days & {day.isoformat() for day in span(*reach)}
            hit = {ds for ds, moment in derived.moments(table, wanted) if was_there(one, moment)}
            if hit:
                touched.setdefault(one.words(), set()).update(hit)
    return {words: sorted(hit) for words, hit in touched.items()}


def was_there(one: Withdrawal, moment: datetime | None) -> bool:
    """Whether withdrawn facts could be read at a moment. Of an unknown moment it is assumed: better once too often."""
    return moment is None or one.ingested_at <= moment < one.since


class Derivations:
    """When the days of a derived table were written, as a pinned version has them."""

    def __init__(self, tables: Tables, versions: Mapping[str, int]) -> None:
        self._tables, self._versions = tables, versions
        self._commits: dict[str, dict[str, datetime]] = {}

    def moments(self, table: str, days: Collection[str]) -> list[tuple[str, datetime | None]]:
        """Each day with the time (UTC) at which the run that wrote its rows committed; None if no history names it."""
        if not days:
            return []
        dataset = self._tables.open(table, self._versions[table]).to_pyarrow_dataset(
            partitions=[("ds", "in", sorted(days))]
        )
        rows = dataset.to_table(columns=["ds", "run_id"], filter=pc.field("ds").isin(sorted(days)))
        pairs = set(zip(rows.column("ds").to_pylist(), rows.column("run_id").to_pylist(), strict=True))
        commits = self._of(table)
        return [(ds, commits.get(run_id)) for ds, run_id in sorted(pairs)]

    def _of(self, table: str) -> dict[str, datetime]:
        """The last commit of each run up to the pinned version; Spark jobs name their run in a commit's metadata."""
        if table not in self._commits:
            pinned = self._versions[table]
            # Asked of the newest version: delta-rs numbers the history of an older one wrongly.
            commits = [c for c in self._tables.open(table).history() if c["version"] <= pinned]
            found: dict[str, datetime] = {}
            for commit in sorted(commits, key=lambda commit: commit["version"]):
                if run_id := commit.get("userMetadata"):
                    found[run_id] = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
            self._commits[table] = found
        return self._commits[table]


Touched = Callable[[Mapping[str, Any]], Mapping[str, list[str]]]


def touched_by_now(tables: Tables, use_case: UseCase) -> Touched:
    """``touched_days`` of a lineage by everything that is withdrawn now; nothing is looked up while nothing is."""
    found = withdrawals(tables)
    return lambda lineage: touched_days(tables, use_case, lineage, found) if found else {}


def words_of(touched: Mapping[str, Sequence[str]]) -> str:
    """For people: what was withdrawn, and on which days of a model's window it was."""
    return "; ".join(f"{what} (days {days[0]} to {days[-1]})" for what, days in sorted(touched.items()))


def _lies_in(files: Collection[str]) -> pc.Expression:
    return pc.field("landing_key").isin(pa.array(sorted(files), pa.string()))


def _is_named(key: str, file: str) -> bool:
    """Whether a landing key is that of a file, given by its name or its key; no name means every file."""
    return not file or file in (key, key.rpartition("/")[2])


def _words(source: str, day: date, file: str) -> str:
    return f"{source} for {day}" + (f" named {file}" if file else "")


def _ingested(tables: Tables) -> dict[str, datetime]:
    """When each landing file was ingested, by key."""
    return {str(row["landing_key"]): row["ingested_at"] for row in _rows(tables, LANDING_FILES.name)}


def _files(tables: Tables, source: str, day: date) -> list[dict[str, Any]]:
    rows = _rows(tables, LANDING_FILES.name)
    return [row for row in rows if (row["source"], row["ds"]) == (source, day.isoformat())]


def _rows(tables: Tables, table: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = tables.open(table).to_pyarrow_table().to_pylist()
    except TableNotFoundError:
        return []
    return found
