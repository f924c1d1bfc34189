"""Scoring a backlog, without Spark: how much of it is measured, and held, at a time."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from include.bundle.bundle import write_bundle
from include.bundle.store import DirectoryStore
from include.locations import Models
from include.predictions.due import Due
from include.spark_jobs import recompute, score_predictions
from include.spark_jobs.recompute import Comparison, bundled_references, by_references
from include.use_case import load_use_case
from tests.bundle.test_bundle import contents

USE_CASE = load_use_case("flight_delay")


def test_a_backlog_of_days_is_measured_a_month_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    days = tuple(date(2013, 1, 1) + timedelta(days=number) for number in range(70))
    due, measured = Due(days, days[:3]), list[tuple[str, Sequence[date]]]()
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "kafka:1")
    monkeypatch.setattr(score_predictions, "create_tables", lambda *_: None)
    monkeypatch.setattr(score_predictions, "write_messages", lambda *_: 5)
    monkeypatch.setattr(score_predictions, "due_now", lambda *_: due)
    for name in ("quality", "parity"):
        monkeypatch.setattr(
            score_predictions, f"measure_{name}", lambda _, __, days, *___, name=name: measured.append((name, days))
        )
    spark: Any = None
    assert score_predictions.score(spark, USE_CASE, "run") == 5
    assert measured == [("quality", days[:31]), ("quality", days[31:62]), ("quality", days[62:]), ("parity", days[:3])]
    measured.clear()
    due = Due((), ())
    score_predictions.score(spark, USE_CASE, "run")
    assert measured == []


def test_a_worker_holds_no_more_predictions_where_more_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Met(Exception):
        """With so many buckets."""

    def feature_rows(subjects: Any, tiles: Any, references: Any, use_case: Any, buckets: int, as_of: str) -> None:
        assert as_of == "as_of"
        raise Met(buckets)

    monkeypatch.setattr(recompute, "feature_rows", feature_rows)
    monkeypatch.setattr(Comparison, "subjects", lambda *_: None)
    for count, buckets in ((10, 4), (100_000, 4), (1_000_001, 41)):
        comparison: Any = object.__new__(Comparison)
        comparison.use_case, comparison.answered_with = USE_CASE, [([], {})]
        comparison.comparable = SimpleNamespace(count=lambda rows=count: rows)
        with pytest.raises(Met) as met:
            comparison.against(None, None)
        assert met.value.args == (buckets,)


def test_models_with_the_same_reference_tables_are_compared_together() -> None:
    old, new = {"airports": b"faa,alt\nJFK,13\n"}, {"airports": b"faa,alt\nJFK,14\n"}
    assert by_references({"b": old, "c": new, "a": dict(old)}) == [(["a", "b"], old), (["c"], new)]


def test_a_model_is_compared_with_its_own_reference_tables_while_it_has_a_bundle(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    model_id = write_bundle(store, "shops", contents())
    own = {"shops": b"id,size\n1,2\n"}
    assert bundled_references(store, "shops", model_id) == own
    store.delete(Models("shops").bundle_prefix(model_id) + "references/shops.csv")
    assert bundled_references(store, "shops", model_id) == {}
    assert bundled_references(store, "shops", "0" * 64) == {}
