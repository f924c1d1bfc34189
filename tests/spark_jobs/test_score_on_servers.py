"""The loop closes on the real servers: predictions logged once, live quality, parity to the bit; repeats, late ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from include import lake
from include.locations import Topics
from include.metrics import load_metrics
from include.predictions.due import PARITY, QUALITY, SCORING, outstanding
from include.settings import KafkaSettings
from include.streaming.messages import LATE, rejection
from include.streaming.messages import encode as encoded
from include.target import BINARY
from tests.spark_jobs import steps
from tests.spark_jobs.served import FEATURES, MODEL, SOURCES, floor, message, send, text
from tests.spark_jobs.workshop import DAYS, Workshop

pytestmark = pytest.mark.drill

#: A day with closed labels, and the last one, whose tiles are published but whose labels are open.
LABELLED, OPEN = DAYS[1].isoformat(), DAYS[2].isoformat()
LATE_SOURCE = "departures"
EARLIER = timedelta(minutes=7)


@dataclass(frozen=True)
class Scored:
    """What was sent and what the first run of the job has made of it."""

    workshop: Workshop
    name: str
    rows: list[dict[str, Any]]
    changed: str
    late: str
    twice: str
    problems: int


@pytest.fixture(scope="module")
def scored(window: Workshop) -> Scored:
    """Predictions for all subjects of two days but the last five, with every kind of oddity, then one run."""
    name = window.window
    rows = sorted(lake.read_rows(name, "features", ds=[LABELLED, OPEN]), key=lambda r: (r["ds"], r["prediction_time"]))
    labelled = [row for row in rows if row["ds"] == LABELLED][:-5]
    fact, late_row = a_late_fact(name, labelled)
    stale_row, changed_row, *others = [row for row in reversed(labelled) if row is not late_row]
    behind = floor(stale_row["prediction_time"]) - timedelta(minutes=90)
    stale = message(
        stale_row,
        features=window.do(steps.features_seen, name, stale_row["subject_id"], {LATE_SOURCE: text(behind)}),
        as_of={source: text(floor(stale_row["prediction_time"])) for source in SOURCES} | {LATE_SOURCE: text(behind)},
    )
    assert stale["features"] != message(stale_row)["features"]
    late = message(
        late_row, features=window.do(steps.features_seen, name, late_row["subject_id"], {}, f"{LATE_SOURCE}/{fact}")
    )
    assert late["features"] != message(late_row)["features"]
    nudged = {"distance": float(np.nextafter(changed_row["distance"], np.inf))}
    changed = message(changed_row, features=message(changed_row)["features"] | nudged)
    odd: list[Mapping[str, Any] | bytes] = [
        b"{",
        message(others[0]),  # asked twice
        message(others[0], features_hash="another", prediction_time=text(others[0]["prediction_time"] - EARLIER)),
        message(others[0], id="nobody"),
    ]
    unlabelled = [message(row) for row in rows if row["ds"] == OPEN][:50]
    topics = Topics(name)
    send(topics.predictions, [*map(message, others), stale, late, changed, *odd, *unlabelled])
    send(topics.rejected, [encoded(rejection(fact, LATE_SOURCE, LATE, ["available_at: too late"], "{}", text(behind)))])
    problems = window.do(steps.score, name, "score 1")
    load_metrics(name, BINARY)
    return Scored(window, name, labelled, changed["id"], late["id"], others[0]["subject_id"], problems)


def a_late_fact(name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """A departure, and a prediction within the hour after it at the same airport: it counts it."""
    facts = lake.read_rows(name, f"raw_{LATE_SOURCE}", ["id", "origin", "moment"], [LABELLED])
    for row in rows[len(rows) // 2 :]:
        for fact in facts:
            age = row["prediction_time"] - fact["moment"]
            if fact["origin"] == row["origin"] and timedelta(minutes=5) < age < timedelta(minutes=30):
                return fact["id"], row
    raise AssertionError("no departure precedes a prediction")


def quality_rows(name: str, hour: bool = False) -> list[dict[str, Any]]:
    rows = [row for row in lake.read_rows(name, "model_quality") if row["role"] == "live"]
    return sorted((row for row in rows if (row["hour"] is not None) == hour), key=lambda row: row["time"])


def parity_of(name: str, ds: str) -> dict[str, float]:
    rows = [row for row in lake.read_rows(name, "data_quality", ds=[ds]) if row["source"] == "predictions"]
    return {row["dimension"]: row["value"] for row in sorted(rows, key=lambda row: row["time"])}


def book_line(name: str, ds: str, source: str) -> dict[str, Any]:
    (line,) = [r for r in lake.read_rows(name, "book", ds=[ds]) if (r["stage"], r["source"]) == (SCORING, source)]
    return line


def test_every_message_is_a_row_once_and_to_the_bit(scored: Scored) -> None:
    rows = lake.read_rows(scored.name, "predictions")
    assert scored.problems == 1
    assert len(rows) == len(scored.rows) + 3 + 50
    assert len({(row["kafka_partition"], row["kafka_offset"]) for row in rows}) == len(rows)
    served = {row["id"]: row for row in rows if row["features_hash"] == FEATURES.hash()}
    row = next(row for row in scored.rows if row["subject_id"] not in (scored.changed, scored.late))
    assert served[row["subject_id"]]["prediction_time"] == row["prediction_time"]
    assert dict(served[row["subject_id"]]["as_of"]) == dict.fromkeys(SOURCES, floor(row["prediction_time"]))
    assert served[scored.changed]["distance"] == np.nextafter(next_of(scored)["distance"], np.inf)


def next_of(scored: Scored) -> dict[str, Any]:
    return next(row for row in scored.rows if row["subject_id"] == scored.changed)


def test_live_quality_is_that_of_the_answers_against_the_labels(scored: Scored) -> None:
    labels = {row["subject_id"]: row["label"] for row in lake.read_rows(scored.name, "labels")}
    probabilities = {row["subject_id"]: message(row)["probability"] for row in scored.rows}
    # The one asked about at two times counts at both; the repeat and the unknown subject do not.
    known = [name for name in (*probabilities, scored.twice) if name in labels]
    (row,) = quality_rows(scored.name)
    assert (row["model_id"], row["split"], row["from_ds"], row["to_ds"]) == (MODEL, "live", LABELLED, LABELLED)
    assert row["rows"] == len(known) > 500
    expected = roc_auc_score([labels[name] for name in known], [probabilities[name] for name in known])
    assert row["auc"] == pytest.approx(expected)
    assert sum(row["rows"] for row in quality_rows(scored.name, hour=True)) == row["rows"]


def test_parity_finds_the_changed_row_alone(scored: Scored) -> None:
    line = book_line(scored.name, LABELLED, PARITY)
    assert line["closed"]
    compared = len(scored.rows) + 1
    assert (line["landed"], line["ingested"], line["quarantined"]) == (compared + 2, compared, 2)
    assert line["detail"] == (
        f"1 rows differ (0 of them said to be degraded) in distance (1); subjects {scored.changed}"
    )
    assert parity_of(scored.name, LABELLED) == {
        "parity": pytest.approx(1 - 1 / (compared - 1)),
        "parity_explained_by_late": pytest.approx(1 / compared),
    }
    assert parity_of(scored.name, OPEN) == {"parity": 1.0, "parity_explained_by_late": 0.0}


def test_freshness_is_told_by_source(scored: Scored) -> None:
    rows = lake.read_rows(scored.name, "runtime_metrics", ds=[LABELLED])
    found = {row["name"]: row["value"] for row in rows if row["instance"] == "score_predictions"}
    assert found['prediction_freshness_seconds{source="departures",quantile="1"}'] == 90 * 60
    assert found['prediction_freshness_seconds{source="departures",quantile="0.5"}'] == 0
    assert found['prediction_freshness_seconds{source="weather",quantile="1"}'] == 0


def test_a_repeat_has_nothing_to_do_and_changes_nothing(scored: Scored) -> None:
    assert not outstanding(steps.named(scored.name), KafkaSettings.from_environment())
    tables = ("predictions", "book")
    before = [lake.open_table(scored.name, table).version() for table in tables]
    assert scored.workshop.do(steps.score, scored.name, "score again") == 0
    assert [lake.open_table(scored.name, table).version() for table in tables] == before
    assert sum(load_metrics(scored.name, BINARY).inserted.values()) == 0


def test_a_topic_that_ends_with_no_prediction_is_passed_once(scored: Scored) -> None:
    send(Topics(scored.name).predictions, [b"gossip"])
    assert outstanding(steps.named(scored.name), KafkaSettings.from_environment())
    assert scored.workshop.do(steps.score, scored.name, "gossip") == 1
    assert not outstanding(steps.named(scored.name), KafkaSettings.from_environment())


def test_what_comes_late_is_measured_again_and_the_same_is_no_new_metric(scored: Scored) -> None:
    rest = [row for row in lake.read_rows(scored.name, "features", ds=[LABELLED]) if row not in scored.rows]
    assert len(rest) == 5
    send(Topics(scored.name).predictions, [message(row) for row in rest])
    found = outstanding(steps.named(scored.name), KafkaSettings.from_environment())
    assert [part.end - part.start for part in found.unread] == [5]
    hours = len(quality_rows(scored.name, hour=True))
    scored.workshop.do(steps.score, scored.name, "score 2")
    load_metrics(scored.name, BINARY)
    first, second = quality_rows(scored.name)
    assert second["rows"] - first["rows"] == len({row["subject_id"] for row in rest} & labelled_ids(scored.name))
    assert second["time"] > first["time"]
    touched = {row["prediction_time"].replace(minute=0, second=0) for row in rest}
    assert len(quality_rows(scored.name, hour=True)) == hours + len(touched), "the other hours are what they were"
    assert book_line(scored.name, LABELLED, QUALITY)["landed"] == len(scored.rows) + 3 + 5


def labelled_ids(name: str) -> set[str]:
    return {row["subject_id"] for row in lake.read_rows(name, "labels", ["subject_id"])}
