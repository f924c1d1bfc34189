"""Life cycle of the lake's tables: compact small files, let go of old rows where a setting says so, vacuum.

Never what is pinned: a bundle names the table versions that it was trained on (``lineage.json``), and a search that is
under way the ones that it reads (``pins.json``). Their data files survive every vacuum, and the tables' logs are kept
long enough to open them. Through delta-rs, whose commits are conditional; the caller sees to it that no Spark job
writes to the same table meanwhile. It does not know what is in the tables.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from include import lake
from include.bundle.store import ObjectStore
from include.locations import Models
from include.settings import SettingError

log = logging.getLogger(__name__)

#: The least hours that an unreferenced file stays: a reader or a writer may be at work for so long.
SHORTEST_VACUUM_HOURS = 24
LOG_RETENTION = "delta.logRetentionDuration"
#: Long beyond any model's life: without its log a pinned version could not be opened, whatever files are kept.
LOG_KEPT = "interval 3650 days"
#: Tables whose rows may be let go of after a while. Facts, labels, books and predictions are kept for good, and so are
#: the names of landing files: what was ingested must be known, and when, or it would be ingested again.
MAY_EXPIRE = ("runtime_metrics", "tiles", "statistics", "alerts")
Pins = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Retention:
    """``vacuum_hours``: how long an unreferenced data file stays. ``days``: per table how many days of rows stay."""

    vacuum_hours: int = 168
    days: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Maintained:
    """What was done to one table."""

    table: str
    compacted: int
    expired: int
    vacuumed: int
    kept_versions: tuple[int, ...]

    def words(self) -> str:
        """For the log."""
        kept = f", pinned versions kept: {', '.join(map(str, self.kept_versions))}" if self.kept_versions else ""
        return (
            f"{self.table}: {self.compacted} files compacted, {self.expired} rows let go of, "
            f"{self.vacuumed} files vacuumed{kept}"
        )


def read_retention(environment: Mapping[str, str]) -> Retention:
    """Read ``LAMBDA_DL_VACUUM_HOURS`` (168) and ``LAMBDA_DL_RETENTION_DAYS`` (``table=days,...``; empty: keep all).

    Raises ``SettingError`` that names the setting.
    """
    text = environment.get("LAMBDA_DL_VACUUM_HOURS") or "168"
    if not text.isdecimal() or int(text) < SHORTEST_VACUUM_HOURS:
        raise SettingError(
            f"setting LAMBDA_DL_VACUUM_HOURS is {text!r}: give whole hours, {SHORTEST_VACUUM_HOURS} or more"
        )
    days: dict[str, int] = {}
    for part in filter(None, (environment.get("LAMBDA_DL_RETENTION_DAYS") or "").split(",")):
        table, _, number = (word.strip() for word in part.partition("="))
        if table not in MAY_EXPIRE or not number.isdecimal() or int(number) < 1:
            raise SettingError(
                f"setting LAMBDA_DL_RETENTION_DAYS has {part.strip()!r}: write table=days,... with the tables "
                f"{', '.join(MAY_EXPIRE)}"
            )
        days[table] = int(number)
    return Retention(int(text), days)


def pinned_versions(store: ObjectStore, use_case: str) -> dict[str, frozenset[int]]:
    """Per table the versions that any bundle (champion, candidate or older) or any search has pinned.

    Raises ``ValueError`` for a document that names none: vacuuming without knowing would be worse than not at all.
    """
    models = Models(use_case)
    bundles = [key for key in store.keys(models.bundles_prefix) if key.endswith("/lineage.json")]
    searches = [key for key in store.keys(f"{use_case}/searches/") if key.endswith("/pins.json")]
    found: dict[str, set[int]] = {}
    for key in (*bundles, *searches):
        document = json.loads(store.get(key))
        # A bundle's lineage calls them ``tables``, a search's pins ``versions``.
        versions = document.get("tables", document.get("versions"))
        if not isinstance(versions, dict):
            raise ValueError(f"{store.url}/{key} names no table versions: nothing is vacuumed while that is so")
        for table, version in versions.items():
            found.setdefault(str(table), set()).add(int(version))
    return {table: frozenset(versions) for table, versions in found.items()}


def maintain(use_case: str, tables: Sequence[str], pins: Pins, retention: Retention, newest: date) -> list[Maintained]:
    """Maintain the tables that there are; ``newest`` is the day from which retention counts back."""
    done = []
    for name in tables:
        try:
            table = lake.open_table(use_case, name)
        except TableNotFoundError:
            continue
        done.append(maintain_table(table, name, pins.get(name, frozenset()), retention, newest))
        log.info("%s", done[-1].words())
    return done


def maintain_table(
    table: DeltaTable, name: str, pinned: Iterable[int], retention: Retention, newest: date, enforce: bool = True
) -> Maintained:
    """Compact, expire and vacuum one table. ``enforce=False`` lets a test vacuum at once."""
    keep_log(table)
    compacted = int(table.optimize.compact()["numFilesRemoved"])
    expired = expire(table, retention.days.get(name), newest) if retention.days else 0
    kept = tuple(sorted(pinned))
    hours = retention.vacuum_hours
    # Listing what is in the table's folder, and not only what its log tells, also finds what killed jobs have left.
    removed = table.vacuum(
        hours, dry_run=False, enforce_retention_duration=enforce, full=True, keep_versions=list(kept) or None
    )
    return Maintained(name, compacted, expired, len(removed), kept)


def keep_log(table: DeltaTable) -> None:
    """See to it that no version's log is cleaned up, in a table that was made before that was a property of all."""
    if table.metadata().configuration.get(LOG_RETENTION) != LOG_KEPT:
        table.alter.set_table_properties({LOG_RETENTION: LOG_KEPT})


def expire(table: DeltaTable, days: int | None, newest: date) -> int:
    """Delete the rows of days older than the ``days`` days that end with ``newest``; returns how many rows."""
    if days is None:
        return 0
    first = newest - timedelta(days=days - 1)
    return int(table.delete(f"ds < '{first.isoformat()}'")["num_deleted_rows"])
