"""A past day, scored again: what was served comes out again, and every way to differ from it is told."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from include.bundle.bundle import load_bundle, write_bundle
from include.bundle.store import DirectoryStore
from include.rescore import NotRescorable, rescore
from include.target import BINARY
from include.training.dataset import Tables
from include.use_case import UseCase
from tests.bundle.test_bundle import contents
from tests.training.synthetic import FEATURES, rows

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES, target=BINARY))
DAY = date(2020, 1, 1)
DS = DAY.isoformat()
MOMENT = datetime(2020, 1, 1, 12, tzinfo=UTC)
COUNT = 50


class World:
    """A day of features and labels, a bundle that has answered about each subject, and another bundle."""

    def __init__(self, root: Path) -> None:
        self.tables, self.models = Tables(str(root / "lake"), {}), DirectoryStore(root / "models")
        self.columns = {name: values[:COUNT] for name, values in rows(1, COUNT).columns.items()}
        self.model = write_bundle(self.models, "shops", contents())
        other = contents()
        self.other = write_bundle(
            self.models, "shops", replace(other, predictor=replace(other.predictor, temperature=2.0))
        )
        bundle = load_bundle(self.models, "shops", self.model, FEATURES)
        self.served = bundle.answers(self.columns)
        self.derive()
        labels = {"subject_id": self.ids(), "label": np.arange(COUNT) % 2, "ds": [DS] * COUNT}
        write_deltalake(f"{self.tables.root}/labels", pa.table(labels))
        self.log()

    @staticmethod
    def ids() -> list[str]:
        return [f"s{number}" for number in range(COUNT)]

    def derive(self, **changed: Any) -> None:
        """Write the day's features, as a new version of the table."""
        about = {"subject_id": self.ids(), "prediction_time": [MOMENT] * COUNT}
        frame = {**about, **self.columns, "features_hash": [FEATURES.hash()] * COUNT, "ds": [DS] * COUNT}
        write_deltalake(f"{self.tables.root}/features", pa.table({**frame, **changed}), mode="overwrite")

    def log(self, **changed: Any) -> None:
        """Write the day's answers; ``changed`` are columns of their own."""
        frame = {
            **{"id": self.ids(), "prediction_time": [MOMENT] * COUNT, "predicted_at": [MOMENT] * COUNT},
            **{"model_id": [self.model] * COUNT, "probability": self.served, "degraded": [False] * COUNT},
            **{**self.columns, "features_hash": [FEATURES.hash()] * COUNT, "ds": [DS] * COUNT},
        }
        write_deltalake(f"{self.tables.root}/predictions", pa.table({**frame, **changed}), mode="append")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_was_served_comes_out_again(world: World) -> None:
    world.log(predicted_at=[datetime(2020, 1, 2, tzinfo=UTC)] * COUNT, probability=world.served / 2)
    found = rescore(world.tables, world.models, SHOPS, DAY, tolerance=1e-7)
    assert (found.compared, found.differing, found.only_served, found.only_rescored) == (COUNT, (), (), ())
    assert found.quality["served"] == found.quality["rescored"]
    assert found.lines()[0] == f"{DS}: {COUNT} answers scored again from features version 0, 0 differ"


def test_another_model_and_another_version_are_told_apart(world: World) -> None:
    x = world.columns["x"].copy()
    x[7] += 3.0
    world.derive(x=x)
    (answer,) = rescore(world.tables, world.models, SHOPS, DAY).differing
    assert (answer.id, answer.features, answer.served) == ("s7", ("x",), world.served[7])
    assert answer.served_by == answer.rescored_by == world.model
    assert rescore(world.tables, world.models, SHOPS, DAY, version=0).differing == ()

    other = rescore(world.tables, world.models, SHOPS, DAY, world.other[:8], version=0)
    assert other.features_version == 0 and other.compared == COUNT
    assert {answer.rescored_by for answer in other.differing} == {world.other}
    distances = [abs(answer.served - answer.rescored) for answer in other.differing]
    assert distances == sorted(distances, reverse=True) and len(distances) > COUNT / 2
    assert f"by {world.other[:12]}; the same features" in other.lines()[-2]
    assert other.lines(limit=3)[-1] == f"... and {len(distances) - 3} more: --json prints all"


def test_answers_and_rows_without_a_partner_are_listed(world: World) -> None:
    later = datetime(2020, 1, 1, 13, tzinfo=UTC)
    world.derive(prediction_time=[later] + [MOMENT] * (COUNT - 1), subject_id=[*world.ids()[:-1], "new"])
    found = rescore(world.tables, world.models, SHOPS, DAY)
    assert found.compared == COUNT - 2
    assert found.only_served == ("s0 at 2020-01-01T12:00:00.000Z", f"s{COUNT - 1} at 2020-01-01T12:00:00.000Z")
    assert found.only_rescored == ("new",)
    assert found.to_json()["ds"] == DS


def test_what_cannot_be_scored_says_why(world: World) -> None:
    def refused(words: str, day: date = DAY, **asked: Any) -> None:
        with pytest.raises(NotRescorable, match=words):
            rescore(world.tables, world.models, SHOPS, day, **asked)

    refused("no answer of 2020-01-02 is logged: .*load_metrics", date(2020, 1, 2))
    refused("has no version 9", version=9)
    refused("'abcdefgh' names 0 bundles", model_id="abcdefgh")
    refused("give one.s id", model_id=world.model[:3])
    world.derive(features_hash=["another"] * COUNT)
    refused("features version 1 of 2020-01-01 follows another feature definition .*run the code of that time")
