"""What holds for any use case, asked of its own facts: contracts, what may be known when, labels. Knows no domain.

Facts are JSON objects by source, as upstream systems send them. Few Spark jobs: tiles and labels alone need any.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from include.contracts.columns import with_times
from include.contracts.contract import Contract
from include.contracts.validator import Valid, validate
from include.declaration import PREDICTION_TIME
from include.features.columns import ARROW_TYPES, ReferenceTable, compute_features, key_texts, numpy_column
from include.features.columns import numpy_columns as as_numpy
from include.spark_jobs.preprocess_features import checked_labels, for_label_days
from include.tiles.build import build_tiles
from include.tiles.kernel import TileIndex, minutes_of, window_columns
from include.use_case import UseCase

Facts = Mapping[str, Sequence[Mapping[str, Any]]]


def typed(contract: Contract, facts: Sequence[Mapping[str, Any]]) -> list[Valid]:
    """Facts as their contract types them; they must keep it."""
    verdicts = [validate(fact, contract) for fact in facts]
    return [verdict for verdict in verdicts if isinstance(verdict, Valid)]


def broken_contracts(use_case: UseCase, facts: Facts) -> list[str]:
    """Why facts would go to quarantine."""
    verdicts = [validate(fact, contract) for contract in use_case.sources for fact in facts[contract.name]]
    return [reason for verdict in verdicts if not isinstance(verdict, Valid) for reason in verdict]


def known_too_early(use_case: UseCase, facts: Facts) -> list[str]:
    """Facts about a subject itself that someone could know at its minimum lead, when clients may still ask about it."""
    contract = use_case.source(use_case.subject_source)
    lead = timedelta(minutes=use_case.minimum_lead_minutes)
    subjects = [found.values for found in typed(contract, facts[contract.name])]
    asked_until: dict[Any, Any] = {s[contract.key]: s[use_case.subject_time] - lead for s in subjects}  # type: ignore[operator]
    found = []
    for source in map(use_case.source, use_case.quality.about_subjects):
        for fact in typed(source, facts[source.name]):
            end = asked_until.get(fact.values[source.key])
            if end is not None and fact.available_at is not None and fact.available_at < end:
                found.append(f"{source.name} {fact.values[source.key]}")
    return found


def known_before(use_case: UseCase, facts: Facts, moment: datetime) -> Facts:
    """The facts that anyone could know before a time."""
    return {
        c.name: [fact for fact in facts[c.name] if _available(c, fact) < moment]  # type: ignore[operator]
        for c in use_case.sources
    }


def _available(contract: Contract, fact: Mapping[str, Any]) -> datetime | None:
    verdict = validate(fact, contract)
    assert isinstance(verdict, Valid), verdict
    return verdict.available_at


def table_of(contract: Contract, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Typed values as columns."""
    types = {field.name: ARROW_TYPES[field.type] for field in contract.fields}
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()})


def raw_facts(spark: SparkSession, contract: Contract, facts: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Facts as the raw table has them, with ``ds``."""
    found = typed(contract, facts)
    days = [f"{fact.available_at:%Y-%m-%d}" for fact in found]
    table = table_of(contract, [fact.values for fact in found]).append_column("ds", pa.array(days, pa.string()))
    return with_times(spark.createDataFrame(table), contract)


def features_at(
    spark: SparkSession, use_case: UseCase, facts: Facts, references: Mapping[str, bytes], moment: datetime
) -> dict[str, dict[str, Any]]:
    """Subject -> its features at one prediction time, for every subject that may be asked about then.

    From Spark's tiles, by the predictor's own path; ``references`` are gzipped CSV files by name.
    """
    raw = {c.name: raw_facts(spark, c, facts[c.name]) for c in use_case.sources}
    index = TileIndex.from_arrow(use_case.tiles, build_tiles(raw, use_case.sources, use_case.tiles).toArrow())
    subjects = _asked(use_case, facts, moment)
    features = use_case.features
    keys = {window.key: key_texts(subjects, window.key) for window in features.windows}
    minutes = minutes_of(numpy_column(subjects.column(PREDICTION_TIME)))
    windows = window_columns([index], features.plan, keys, minutes)
    held = {r.name: ReferenceTable.from_csv(r, references[r.name]) for r in features.references}
    computed = compute_features(as_numpy(subjects), windows, held, features)
    ids = subjects.column(use_case.subject.key).to_pylist()
    return {name: {f: str(values[i]) for f, values in computed.items()} for i, name in enumerate(ids)}


def _asked(use_case: UseCase, facts: Facts, moment: datetime) -> pa.Table:
    """The subjects that may be asked about at a time."""
    nearest = moment + timedelta(minutes=use_case.minimum_lead_minutes)
    contract = use_case.source(use_case.subject_source)
    rows = [{**found.values, PREDICTION_TIME: moment} for found in typed(contract, facts[contract.name])]
    return table_of(use_case.subject, [row for row in rows if row[use_case.subject_time] >= nearest])


def labels_of(spark: SparkSession, use_case: UseCase, facts: Facts, day: date) -> dict[str, tuple[int, str]]:
    """Subject -> label and outcome, for the subjects of a day, from what was known until its horizon ends."""
    lead = timedelta(minutes=use_case.prediction_lead_minutes)
    source = use_case.source(use_case.subject_source)
    times = [found.values[use_case.subject_time] for found in typed(source, facts[source.name])]
    subjects = [s for s, at in zip(facts[source.name], times, strict=True) if (at - lead).date() == day]  # type: ignore[operator,union-attr]
    raw = {}
    for contract in use_case.sources:
        frame = raw_facts(spark, contract, subjects if contract == source else facts[contract.name])
        raw[contract.name] = for_label_days(frame, contract, [day], use_case.label_horizon_days)
    labelled = checked_labels(use_case.labels(raw), use_case.target)
    return {row["subject_id"]: (row["label"], row["outcome"]) for row in labelled.collect()}
