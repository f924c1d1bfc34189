"""What depends on a source's day: the list that a person reads before the day is withdrawn or restored.

It only looks: at the tables, the bundles, the ledger and MySQL. It does not know Airflow, and changes nothing.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pymysql
from deltalake.exceptions import TableNotFoundError

from include.bundle.store import ObjectStore
from include.impact import days_to_derive, impact_of, ranges, span
from include.ledger import read_ledger
from include.locations import Models
from include.retraction import Withdrawal, touched_days
from include.settings import MysqlSettings
from include.tables import LABELS, TILES
from include.training.dataset import Tables
from include.use_case import UseCase

FEATURES, PREDICTIONS = "features", "predictions"
SHOWN = 12


@dataclass(frozen=True)
class TouchedModel:
    """A bundle with withdrawn facts in its window; ``role``: champion, former champion or candidate."""

    model_id: str
    role: str
    days: tuple[str, ...]
    predictions: int


@dataclass(frozen=True)
class BlastRadius:
    """Everything that depends on a source's day. Spans of days are (first, last); ``rows`` are by table, in Hive and
    (names with ``mysql.``) in MySQL."""

    source: str
    ds: str
    files: tuple[str, ...]
    features: tuple[str, str]
    labels: tuple[str, str]
    derive: tuple[tuple[str, str], ...]
    rows: Mapping[str, int]
    models: tuple[TouchedModel, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: lists, since Airflow shows a tuple in XCom as one text."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def lines(self) -> list[str]:
        """For the log."""
        spans = ", ".join(f"{first} to {last}" for first, last in self.derive) or "none"
        rows = [f"rows of {table} concerned: {count}" for table, count in self.rows.items()]
        models = [
            f"{one.role} {one.model_id[:SHOWN]} was trained on {len(one.days)} of these days "
            f"({one.days[0]} to {one.days[-1]}) and has served {one.predictions} predictions"
            for one in self.models
        ]
        return [
            f"{self.source} of {self.ds}: {len(self.files)} landing files",
            *(f"- {key}" for key in self.files),
            f"feature days that can depend on it: {self.features[0]} to {self.features[1]}; "
            f"label days: {self.labels[0]} to {self.labels[1]}",
            f"days to be derived again: {spans}",
            *rows,
            *(models or ["no model was trained on it"]),
        ]


def blast_radius(
    tables: Tables,
    models: ObjectStore,
    mysql: MysqlSettings,
    use_case: UseCase,
    found: Sequence[Withdrawal],
    derived: Collection[str],
) -> BlastRadius:
    """Look up what depends on the files in ``found``, all of one source and day; ``derived``: what can be derived."""
    source, day = found[0].source, date.fromisoformat(found[0].ds)
    files = tuple(one.landing_key for one in found)
    impact = impact_of(use_case, source, day)
    again = days_to_derive(use_case, source, [day], derived)
    names = [each.isoformat() for each in again]
    labelled = [each.isoformat() for each in span(*impact.labels)]
    rows = {
        f"raw_{source}": _facts(tables, source, found[0].ds, files),
        TILES.name: _rows(tables, TILES.name, names),
        FEATURES: _rows(tables, FEATURES, names),
        LABELS.name: _rows(tables, LABELS.name, labelled),
        **mysql_rows(mysql, source, day),
    }
    return BlastRadius(
        source=source,
        ds=found[0].ds,
        files=files,
        features=_texts(impact.features),
        labels=_texts(impact.labels),
        derive=tuple(_texts(each) for each in ranges(again)),
        rows=rows,
        models=touched_models(tables, models, use_case, found),
    )


def touched_models(
    tables: Tables, models: ObjectStore, use_case: UseCase, found: Sequence[Withdrawal]
) -> tuple[TouchedModel, ...]:
    """Every bundle with withdrawn facts in its window, champions first."""
    ledger = read_ledger(models, use_case.name)
    champions = {entry.model_id for entry in ledger}
    served = predictions_by_model(tables)
    touched = []
    for model_id, lineage in lineages(models, use_case.name):
        days = sorted({day for hit in touched_days(tables, use_case, lineage, found).values() for day in hit})
        if days:
            is_head = bool(ledger) and ledger[-1].model_id == model_id
            role = "champion" if is_head else "former champion" if model_id in champions else "candidate"
            touched.append(TouchedModel(model_id, role, tuple(days), served.get(model_id, 0)))
    order = ("champion", "former champion", "candidate")
    return tuple(sorted(touched, key=lambda one: (order.index(one.role), one.model_id)))


def lineages(models: ObjectStore, use_case: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every bundle's id and lineage."""
    prefix = Models(use_case).bundles_prefix
    for key in models.keys(prefix):
        if key.endswith("/lineage.json"):
            yield key.removeprefix(prefix).partition("/")[0], json.loads(models.get(key))


def predictions_by_model(tables: Tables) -> dict[str, int]:
    """How many logged predictions each model has made."""
    try:
        found = tables.open(PREDICTIONS).to_pyarrow_table(columns=["model_id"])
    except TableNotFoundError:
        return {}
    counts = found.group_by("model_id").aggregate([([], "count_all")]).to_pylist()
    return {str(row["model_id"]): int(row["count_all"]) for row in counts}


def mysql_rows(settings: MysqlSettings, source: str, day: date) -> dict[str, int]:
    """Rows of the short-term store that show the source's day; none while it was never refreshed."""
    connection = pymysql.connect(
        host=settings.host,
        port=settings.port,
        user=settings.user,
        password=settings.password,
        database=settings.database,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE 'recent_events'")
        if cursor.fetchone() is None:
            return {"mysql.recent_events": 0}
        cursor.execute("SELECT COUNT(*) FROM recent_events WHERE source = %s AND ds = %s", (source, day.isoformat()))
        (count,) = cursor.fetchone() or (0,)
    return {"mysql.recent_events": int(count)}


def _facts(tables: Tables, source: str, ds: str, files: Sequence[str]) -> int:
    dataset = tables.open(f"raw_{source}").to_pyarrow_dataset(partitions=[("ds", "=", ds)])
    keys = dataset.to_table(columns=["landing_key"]).column("landing_key").to_pylist()
    return sum(key in set(files) for key in keys)


def _rows(tables: Tables, table: str, days: Sequence[str]) -> int:
    if not days:
        return 0
    return int(tables.open(table).to_pyarrow_dataset(partitions=[("ds", "in", list(days))]).count_rows())


def _texts(days: tuple[date, date]) -> tuple[str, str]:
    return days[0].isoformat(), days[1].isoformat()
