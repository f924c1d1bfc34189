"""Lineage: from one prediction to the model, its training window and table versions, and the landing files with hashes.

    python -m include.lineage PREDICTION_ID [--use-case NAME] [--json]

The id is the subject's; every logged answer about it is traced. It reads the lake and the models bucket and changes
nothing. Which files a window rests on follows from what the declared windows and horizons reach into.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from deltalake.exceptions import TableNotFoundError

from include.broadcast import rfc3339
from include.bundle.store import ObjectMissing, ObjectStore, S3Store
from include.champion import lineage_of
from include.ledger import Entry, read_ledger
from include.locations import MODELS_BUCKET
from include.retraction import Derivations, read_events
from include.settings import S3Settings
from include.tables import LANDING_FILES
from include.target import TARGETS, Target
from include.tombstones import retracted_keys
from include.training.dataset import Tables
from include.use_case import UseCase, load_use_case
from include.use_cases import chosen_use_case

PREDICTIONS, FEATURES = "predictions", "features"
#: What is told of an answer beside itself; its features are in the table too.
ANSWER = (
    "id",
    "ds",
    "prediction_time",
    "predicted_at",
    "model_id",
    "sequence",
    "degraded",
    "via",
    "as_of",
)
#: What is told of a model, from its bundle's lineage.
MODEL = ("run_id", "parent", "continued_from", "seed", "code_version", "packages")


class Untraceable(ValueError):
    """There is nothing to trace; the message says why and what to do."""


@dataclass(frozen=True)
class File:
    """A landing file that a training window rests on; ``withdrawn``: retracted since."""

    source: str
    ds: str
    landing_key: str
    landing_sha256: str
    rows: int
    withdrawn: bool


@dataclass(frozen=True)
class Trace:
    """One answer's lineage. ``ledger``: the line that had made its model champion."""

    answer: Mapping[str, Any]
    ledger: Entry | None
    model: Mapping[str, Any]
    window: Mapping[str, tuple[str, str, int]]
    tables: Mapping[str, int]
    files: tuple[File, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; times are RFC 3339 in UTC."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_text))
        return document

    def lines(self) -> list[str]:
        """For people."""
        answer, model = self.answer, self.model
        spans = [f"  {name}: {first} to {last} ({days} days)" for name, (first, last, days) in self.window.items()]
        line = self.ledger
        said = f"line {line.sequence}: {line.event} by {line.actor} at {line.time}" if line else "no line"
        withdrawn = sum(file.withdrawn for file in self.files)
        return [
            f"prediction {answer['id']}: {_given(answer):.4f}, of {_text(answer['prediction_time'])}, "
            f"given {_text(answer['predicted_at'])} over {answer['via']}",
            f"model {answer['model_id']}",
            f"  ledger {said}",
            *(f"  {name}: {model[name]}" for name in MODEL if model.get(name) is not None and name != "packages"),
            "window",
            *spans,
            "table versions",
            *(f"  {table}: {version}" for table, version in sorted(self.tables.items())),
            f"{len(self.files)} landing files" + (f", {withdrawn} of them retracted since" if withdrawn else ""),
            *(
                f"  {file.landing_sha256} {file.landing_key} ({file.rows} rows)" + (" RETRACTED" * file.withdrawn)
                for file in self.files
            ),
        ]


def _given(answer: Mapping[str, Any]) -> float:
    """The answer itself, by whichever name it has."""
    return next(float(answer[target.answer]) for target in TARGETS.values() if target.answer in answer)


def trace(tables: Tables, models: ObjectStore, use_case: UseCase, prediction_id: str) -> list[Trace]:
    """Every logged answer about a subject, oldest first; raises ``Untraceable``."""
    answers = logged(tables, use_case.target, prediction_id)
    ledger = {entry.sequence: entry for entry in read_ledger(models, use_case.name)}
    withdrawn = set(retracted_keys(read_events(tables)))
    landed = tables.open(LANDING_FILES.name).to_pyarrow_table().to_pylist()
    found = []
    for answer in answers:
        try:
            lineage = lineage_of(models, use_case.name, answer["model_id"])
        except ObjectMissing as error:
            raise Untraceable(f"the bundle of model {answer['model_id']} is gone: {error}") from error
        window = {
            name: (part["days"][0], part["days"][-1], len(part["days"])) for name, part in lineage["split"].items()
        }
        found.append(
            Trace(
                answer=answer,
                ledger=ledger.get(answer["sequence"]),
                model={name: lineage.get(name) for name in MODEL},
                window=window,
                tables=lineage["tables"],
                files=files_of(tables, use_case, lineage, landed, withdrawn),
            )
        )
    return found


def logged(tables: Tables, target: Target, prediction_id: str) -> list[dict[str, Any]]:
    """The logged answers about a subject, in the order in which they were given; raises ``Untraceable``."""
    wanted = [("id", "=", prediction_id)]
    try:
        rows = tables.open(PREDICTIONS).to_pyarrow_table(filters=wanted, columns=[*ANSWER, target.answer])
        found = rows.to_pylist()
    except TableNotFoundError:
        found = []
    if not found:
        raise Untraceable(
            f"no prediction {prediction_id!r} is logged: the id is the subject's, and answers come into the table with "
            "the next run of load_metrics"
        )
    return sorted(found, key=lambda answer: answer["predicted_at"])


def files_of(
    tables: Tables,
    use_case: UseCase,
    lineage: Mapping[str, Any],
    landed: Sequence[Mapping[str, Any]],
    withdrawn: set[str],
) -> tuple[File, ...]:
    """The landing files that the days of a model rest on: of the days that features and labels reach into, those that
    had been ingested when the pinned rows were written."""
    days = sorted(day for part in lineage["split"].values() for day in part["days"])
    first = date.fromisoformat(days[0]) - timedelta(days=use_case.history_days + _announced(use_case))
    last = date.fromisoformat(days[-1]) + timedelta(days=use_case.label_horizon_days)
    moments = [moment for _, moment in Derivations(tables, lineage["tables"]).moments(FEATURES, days) if moment]
    until = max(moments, default=datetime.max.replace(tzinfo=UTC))
    chosen = [
        File(
            row["source"],
            row["ds"],
            row["landing_key"],
            row["landing_sha256"],
            row["rows"],
            row["landing_key"] in withdrawn,
        )
        for row in landed
        if first.isoformat() <= row["ds"] <= last.isoformat() and row["ingested_at"] <= until
    ]
    return tuple(sorted(chosen, key=lambda file: (file.ds, file.source, file.landing_key)))


def _announced(use_case: UseCase) -> int:
    """How many days before its day the earliest fact can have been known."""
    return max(contract.announced_days for contract in use_case.sources)


def _text(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 if there is nothing to trace."""
    parser = argparse.ArgumentParser(description="Trace a prediction back to the landing files of its model.")
    parser.add_argument("prediction_id", help="the subject's id, as in the answer")
    parser.add_argument("--use-case", default=chosen_use_case(os.environ))
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    options = parser.parse_args(arguments)
    s3, use_case = S3Settings.from_environment(), load_use_case(options.use_case)
    try:
        found = trace(Tables.on_s3(use_case.name, s3), S3Store(s3, MODELS_BUCKET), use_case, options.prediction_id)
    except Untraceable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([one.to_json() for one in found], indent=2))
    else:
        print("\n\n".join("\n".join(one.lines()) for one in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
