"""After a replay: the same days through the batch layer, and what it says about the answers that were given.

Lands and ingests the replayed days and one more (so that their labels close), runs the loop-closing job, and sets
beside each other: parity, freshness, and the area under the ROC curve live and in batch on the same subjects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from include.bundle.bundle import load_bundle
from include.bundle.store import ObjectStore
from include.locations import Topics
from include.target import Metric, Target
from include.training.dataset import Tables, joined, rows_of
from include.training.metrics import skill_if_any
from include.use_case import UseCase
from local_stack.airflow_api import AirflowApi, Report
from local_stack.analyst import query_hive
from local_stack.replay.books import Opening
from local_stack.replay.session import Plan
from local_stack.replay.topics import read_topic
from local_stack.replay.watching import answer_of
from local_stack.upstream import land_days

INGEST_SECONDS, LOAD_SECONDS = 3600.0, 1800.0
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Answered:
    """One answer from the predictions topic; times are aware, UTC."""

    id: str
    at: datetime
    model_id: str
    answer: float
    as_of: Mapping[str, datetime | None]


@dataclass(frozen=True)
class Comparison:
    """Live beside batch on the same subjects; no figures where their labels are all alike, or there is no subject."""

    subjects: int
    skill: Metric
    live: float | None
    batch: float | None


def ingest_days(
    use_case: UseCase, environment: Mapping[str, str], airflow: AirflowApi, first: date, last: date, report: Report
) -> None:
    """Land the days and run them through the batch layer; a day that is already there changes nothing."""
    land_days(use_case, environment, first, last)
    _run(airflow, "ingest_window", INGEST_SECONDS, report, {"from": first.isoformat(), "to": last.isoformat()})


def close_the_loop(airflow: AirflowApi, report: Report) -> None:
    """Log the predictions, judge them, and load the figures."""
    _run(airflow, "load_metrics", LOAD_SECONDS, report)


def _run(
    airflow: AirflowApi, dag_id: str, seconds: float, report: Report, conf: Mapping[str, Any] | None = None
) -> None:
    airflow.wait_for_dag(dag_id)
    airflow.unpause(dag_id)
    airflow.follow(dag_id, airflow.trigger(dag_id, conf), seconds, report)


def days_of(use_case: UseCase, plan: Plan) -> tuple[date, date, date]:
    """First and last day of a plan, and the day until which facts have to be there for its labels to close."""
    last = (plan.end - timedelta(minutes=1)).date()
    return plan.begin.date(), last, last + timedelta(days=use_case.label_horizon_days)


def parity_rows(environment: Mapping[str, str], first: date, last: date) -> list[tuple[Any, ...]]:
    """``ds, dimension, value`` of the newest parity figures of the days, from Hive."""
    return query_hive(
        environment,
        "select ds, dimension, max_by(value, time) from data_quality where source = 'predictions' "
        f"and ds between '{first}' and '{last}' group by ds, dimension order by ds, dimension",
    )


def live_quality_rows(environment: Mapping[str, str], target: Target, first: date, last: date) -> list[tuple[Any, ...]]:
    """``ds, rows`` and skill of the newest live figures of the days, from Hive."""
    return query_hive(
        environment,
        f"select ds, max_by(`rows`, time), max_by({target.skill.name}, time) from model_quality where role = 'live' "
        f"and hour is null and ds between '{first}' and '{last}' group by ds, model_id order by ds",
    )


def answers_since(use_case: UseCase, bootstrap: str, opening: Opening, plan: Plan) -> list[Answered]:
    """The answers of the replayed span from the predictions topic, one a subject and time."""
    topic = Topics(use_case.name).predictions
    found: dict[tuple[str, datetime], Answered] = {}
    for read in read_topic(bootstrap, topic, opening.offsets[topic]):
        message = answer_of(read.value, use_case.target)
        answer = None if message is None else as_answered(message, use_case.target)
        if answer is not None and plan.begin <= answer.at < plan.end:
            found.setdefault((answer.id, answer.at), answer)
    return list(found.values())


def as_answered(message: Mapping[str, Any], target: Target) -> Answered:
    """A prediction's message with its times parsed."""
    as_of = {s: None if text is None else datetime.fromisoformat(text) for s, text in message["as_of"].items()}
    at = datetime.fromisoformat(message["prediction_time"])
    return Answered(message["id"], at, message["model_id"], message[target.answer], as_of)


def freshness(answers: Iterable[Answered]) -> dict[str, tuple[int, list[float]]]:
    """Source -> answers that saw nothing of it, and quantiles of the minutes that ``as_of`` lay behind the others'."""
    behind: dict[str, list[float]] = defaultdict(list)
    blind: dict[str, int] = defaultdict(int)
    for answer in answers:
        for source, as_of in answer.as_of.items():
            if as_of is None:
                blind[source] += 1
            else:
                minute = answer.at.replace(second=0, microsecond=0)
                behind[source].append((minute - as_of).total_seconds() / 60)
    names = sorted({*behind, *blind})
    return {name: (blind[name], quantiles(behind[name])) for name in names}


def quantiles(values: Sequence[float]) -> list[float]:
    """The values at ``QUANTILES``, NaN where there are none."""
    if not values:
        return [float("nan")] * len(QUANTILES)
    return [float(value) for value in np.quantile(values, QUANTILES, method="higher")]


def compare(use_case: UseCase, tables: Tables, models: ObjectStore, answers: Sequence[Answered]) -> Comparison:
    """Score the batch layer's rows of the answered subjects with the models that answered, and judge both."""
    days = sorted({f"{answer.at:%Y-%m-%d}" for answer in answers})
    subjects, labelled = (tables.open(table).to_pyarrow_dataset() for table in ("features", "labels"))
    table = joined(subjects, labelled, use_case.features, days)
    rows, ids = rows_of(table, use_case.features, use_case.target), table.column("subject_id").to_pylist()
    asked = sorted({answer.model_id for answer in answers})
    bundles = {model: load_bundle(models, use_case.name, model, use_case.features) for model in asked}
    given = {
        model: dict(zip(ids, bundle.answers(rows.columns).tolist(), strict=True)) for model, bundle in bundles.items()
    }
    live, batch, labels = paired(dict(zip(ids, rows.labels.tolist(), strict=True)), answers, given)
    target = use_case.target
    return Comparison(len(labels), target.skill, *(skill_if_any(target, labels, given) for given in (live, batch)))


def paired(
    labels: Mapping[str, float], answers: Iterable[Answered], batch: Mapping[str, Mapping[str, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Live and batch answers and labels of the subjects that have all three; batch by the model that answered."""
    both = [answer for answer in answers if answer.id in labels]
    return (
        np.array([answer.answer for answer in both]),
        np.array([batch[answer.model_id][answer.id] for answer in both]),
        np.array([labels[answer.id] for answer in both], dtype=np.float32),
    )
