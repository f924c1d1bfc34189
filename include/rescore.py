"""As of: what a model says of a past day's subjects, from features at a table version, beside what was served.

    python -m include.rescore DAY [--model ID] [--features-version N] [--tolerance P] [--use-case NAME] [--json]

Without ``--model`` every answer is given again by the model that gave it, so that only the features can differ;
without ``--features-version`` the features are those of today. It reads the lake and the models bucket and changes
nothing. It does not say which of both is right.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from numpy.typing import NDArray

from include.broadcast import rfc3339
from include.bundle.bundle import Bundle, BundleError, UnknownModel, find_model, load_bundle
from include.bundle.store import ObjectMissing, ObjectStore, S3Store
from include.locations import MODELS_BUCKET
from include.predictions.parity import AGAIN, differences
from include.rollback import SHOWN
from include.settings import S3Settings
from include.tables import LABELS
from include.target import Target
from include.training.dataset import Tables, rows_of
from include.training.metrics import Quality, quality
from include.use_case import UseCase, load_use_case
from include.use_cases import chosen_use_case

PREDICTIONS, FEATURES = "predictions", "features"
#: As exact as two machines agree on one network (see ``bundle``); a changed feature moves an answer by more.
TOLERANCE = 1e-4
LINES = 40


class NotRescorable(ValueError):
    """The day cannot be scored again; the message says why and what to do."""


@dataclass(frozen=True)
class Answer:
    """One served answer and its repetition. ``features``: those that differ in bits from the served ones."""

    id: str
    prediction_time: datetime
    served_by: str
    rescored_by: str
    served: float
    rescored: float
    features: tuple[str, ...]
    degraded: bool

    def words(self) -> str:
        """For people."""
        other = "" if self.served_by == self.rescored_by else f" by {self.rescored_by[:SHOWN]}"
        why = f"; features: {', '.join(self.features)}" if self.features else "; the same features"
        said = " (said to be degraded)" if self.degraded else ""
        return (
            f"{self.id} at {rfc3339(self.prediction_time)}: {self.served:.4f} served by {self.served_by[:SHOWN]}"
            f"{said}, {self.rescored:.4f}{other}{why}"
        )


@dataclass(frozen=True)
class Rescored:
    """A day, scored again. ``compared`` counts answers, ``differing`` are those further apart than the tolerance;
    ``only_served`` are ids without such a row of features, ``only_rescored`` subjects that nobody asked about.
    ``quality`` is of both sides on the compared answers whose outcome is known."""

    ds: str
    features_version: int
    compared: int
    differing: tuple[Answer, ...]
    only_served: tuple[str, ...]
    only_rescored: tuple[str, ...]
    quality: dict[str, Quality]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; times are RFC 3339 in UTC."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_text))
        return {**document, "quality": {side: found.to_json() for side, found in self.quality.items()}}

    def lines(self, limit: int = LINES) -> list[str]:
        """For people."""
        more = len(self.differing) - limit
        return [
            f"{self.ds}: {self.compared} answers scored again from features version {self.features_version}, "
            f"{len(self.differing)} differ",
            f"served without such features (another moment, or an unknown subject): {_some(self.only_served)}",
            f"features that nobody asked about: {_some(self.only_rescored)}",
            *(
                f"{side}: {found.target.skill.words} {found.skill:.4f}, {found.target.loss.words} {found.loss:.4f} "
                f"on {found.rows} known outcomes"
                for side, found in self.quality.items()
            ),
            *(answer.words() for answer in self.differing[:limit]),
            *([f"... and {more} more: --json prints all"] if more > 0 else []),
        ]


def rescore(
    tables: Tables,
    models: ObjectStore,
    use_case: UseCase,
    day: date,
    model_id: str | None = None,
    version: int | None = None,
    tolerance: float = TOLERANCE,
) -> Rescored:
    """Score a day's subjects again. ``model_id`` may be its first characters; ``tolerance`` is in probability, or a
    share of a served count above 1.

    Raises ``NotRescorable``: no answers or no features of that day, no such model or version, or one of another
    feature definition than the running code's.
    """
    ds = day.isoformat()
    served = _first_of_each(_day(_open(tables, PREDICTIONS), ds))
    if not len(served):
        raise NotRescorable(f"no answer of {ds} is logged: answers come into the table with the next load_metrics")
    table = _open(tables, FEATURES, version)
    features = _comparable(_day(table, ds), use_case, f"{FEATURES} version {table.version()} of {ds}")
    if not len(features):
        raise NotRescorable(f"{FEATURES} version {table.version()} has no rows of {ds}: run preprocess_features for it")
    chosen = _whole_id(models, use_case, model_id) if model_id else None
    asked = set(served["id"].to_pylist())
    places, lone = _pairs(served, features)
    served, again = served.take(places[:, 0]), features.take(places[:, 1])
    labels = _labels(tables, ds, served)
    by = [chosen or one for one in served["model_id"].to_pylist()]
    rescored = _scored(models, use_case, again, by)
    before = np.asarray(served[use_case.target.answer].to_numpy(), dtype=np.float64)
    answers = _answers(served, again, by, before, rescored, use_case)
    apart = np.flatnonzero(~(np.abs(before - rescored) <= tolerance * np.maximum(1.0, before)))
    return Rescored(
        ds=ds,
        features_version=table.version(),
        compared=len(served),
        differing=tuple(
            answers[place] for place in apart[np.argsort(-np.abs(before - rescored)[apart], kind="stable")]
        ),
        only_served=tuple(sorted(lone)),
        only_rescored=tuple(sorted(set(features["subject_id"].to_pylist()) - asked)),
        quality=_quality(use_case.target, labels, {"served": before, "rescored": rescored}),
    )


def _open(tables: Tables, name: str, version: int | None = None) -> DeltaTable:
    try:
        return tables.open(name, version)
    except TableNotFoundError as error:
        raise NotRescorable(f"there is no table {name!r} yet") from error
    except DeltaError as error:
        raise NotRescorable(f"table {name!r} has no version {version}: {error}") from error


def _day(table: DeltaTable, ds: str) -> pa.Table:
    return table.to_pyarrow_table(filters=[("ds", "=", ds)])


def _first_of_each(served: pa.Table) -> pa.Table:
    """The same model asked about the same subject at the same prediction time counts once, however often it was."""
    ordered = served.sort_by([("predicted_at", "ascending")])
    first: dict[tuple[Any, ...], int] = {}
    for place, key in enumerate(
        zip(*(ordered[n].to_pylist() for n in ("model_id", "id", "prediction_time")), strict=True)
    ):
        first.setdefault(key, place)
    return ordered.take(pa.array(list(first.values()), pa.int64()))


def _comparable(table: pa.Table, use_case: UseCase, what: str) -> pa.Table:
    others = set(table["features_hash"].unique().to_pylist()) - {use_case.features.hash()}
    if others:
        raise NotRescorable(
            f"{what} follows another feature definition ({sorted(others)[0][:SHOWN]}) than the running code's "
            f"({use_case.features.hash()[:SHOWN]}): run the code of that time"
        )
    return table


def _pairs(served: pa.Table, features: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
    """(row of ``served``, row of ``features``) for the same subject and moment ``[n, 2]``; ids without a partner."""
    keys = zip(features["subject_id"].to_pylist(), features["prediction_time"].to_pylist(), strict=True)
    rows = {key: place for place, key in enumerate(keys)}
    pairs, lone = [], []
    asked = zip(served["id"].to_pylist(), served["prediction_time"].to_pylist(), strict=True)
    for place, (subject, moment) in enumerate(asked):
        partner = rows.get((subject, moment))
        if partner is None:
            lone.append(f"{subject} at {rfc3339(moment)}")
        else:
            pairs.append((place, partner))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), lone


def _scored(models: ObjectStore, use_case: UseCase, rows: pa.Table, by: Sequence[str]) -> NDArray[np.float64]:
    """The answer for each row by the model named for it, float64 ``[n]``."""
    unlabelled = rows.append_column("label", pa.nulls(len(rows), pa.float32()))
    found = np.empty(len(rows), dtype=np.float64)
    named = np.array(by, dtype=object)
    for model_id in sorted(set(by)):
        places = np.flatnonzero(named == model_id)
        bundle = _bundle(models, use_case, model_id)
        found[places] = bundle.answers(rows_of(unlabelled.take(places), use_case.features, use_case.target).columns)
    return found


def _bundle(models: ObjectStore, use_case: UseCase, model_id: str) -> Bundle:
    try:
        return load_bundle(models, use_case.name, model_id, use_case.features)
    except (BundleError, ObjectMissing) as error:
        raise NotRescorable(f"model {model_id[:SHOWN]} cannot score here: {error}") from error


def _whole_id(models: ObjectStore, use_case: UseCase, beginning: str) -> str:
    try:
        return find_model(models, use_case.name, beginning)
    except UnknownModel as error:
        raise NotRescorable(str(error)) from error


def _answers(
    served: pa.Table,
    again: pa.Table,
    by: Sequence[str],
    before: NDArray[np.float64],
    rescored: NDArray[np.float64],
    use_case: UseCase,
) -> list[Answer]:
    features = use_case.features.features
    side_by_side = served
    for feature in features:
        side_by_side = side_by_side.append_column(AGAIN + feature.name, again[feature.name])
    differing = differences(side_by_side, features)
    named = (served[name].to_pylist() for name in ("id", "prediction_time", "model_id", "degraded"))
    return [
        Answer(subject, moment, model, by[place], before[place], rescored[place], tuple(differing[place]), degraded)
        for place, (subject, moment, model, degraded) in enumerate(zip(*named, strict=True))
    ]


def _labels(tables: Tables, ds: str, served: pa.Table) -> NDArray[np.float64]:
    """The outcomes of the answers' subjects, float64 ``[n]``, NaN where none is known yet."""
    try:
        rows = _day(tables.open(LABELS.name), ds)
    except TableNotFoundError:
        return np.full(len(served), np.nan)
    known = dict(zip(rows["subject_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    return np.array([known.get(subject, np.nan) for subject in served["id"].to_pylist()], dtype=np.float64)


def _quality(target: Target, labels: NDArray[np.float64], sides: dict[str, NDArray[np.float64]]) -> dict[str, Quality]:
    known = ~np.isnan(labels)
    if len(np.unique(labels[known])) < 2:
        return {}
    return {side: quality(target, labels[known], answers[known]) for side, answers in sides.items()}


def _some(names: Iterable[str], shown: int = 5) -> str:
    listed = list(names)
    return f"{len(listed)}" + (
        f" ({', '.join(listed[:shown])}{', ...' if len(listed) > shown else ''})" if listed else ""
    )


def _text(value: Any) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 2 if the day cannot be scored again."""
    parser = argparse.ArgumentParser(description="Score a past day again and list what differs from what was served.")
    parser.add_argument("day", type=date.fromisoformat, help="the day of the prediction times, YYYY-MM-DD")
    parser.add_argument("--model", metavar="ID", help="a bundle (default: for each answer the one that gave it)")
    parser.add_argument("--features-version", metavar="N", type=int, help="of the table features (default: the newest)")
    parser.add_argument(
        "--tolerance",
        metavar="P",
        type=float,
        default=TOLERANCE,
        help="in probability, or a share of a count, default %(default)s",
    )
    parser.add_argument("--use-case", default=chosen_use_case(os.environ))
    parser.add_argument("--json", action="store_true", help="print a JSON object with every answer that differs")
    options = parser.parse_args(arguments)
    s3, use_case = S3Settings.from_environment(), load_use_case(options.use_case)
    tables, models = Tables.on_s3(use_case.name, s3), S3Store(s3, MODELS_BUCKET)
    try:
        found = rescore(
            tables, models, use_case, options.day, options.model, options.features_version, options.tolerance
        )
    except NotRescorable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.to_json(), indent=2) if options.json else "\n".join(found.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
