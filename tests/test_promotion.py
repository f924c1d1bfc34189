"""A promotion appends once, however often it runs; a refusal is told with its reasons, and keeps them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
import torch
from deltalake import write_deltalake

from include.broadcast import Message
from include.bundle.bundle import Contents, Predictor, write_bundle
from include.bundle.store import DirectoryStore
from include.ledger import read_ledger
from include.promotion import Approval, Systems, judge, promote
from include.refusals import read_refusals
from include.target import BINARY
from include.training.dataset import pin_versions, split_days
from include.training.encoding import Encoders
from include.training.loop import LoopConfig, Tensors, build, parts_of
from include.training.network import NetworkConfig
from include.use_case import Gate, Quality, UseCase
from tests.training.synthetic import FEATURES, days, rows, spans, write_tables

SHOPS = cast(
    UseCase,
    SimpleNamespace(
        target=BINARY,
        name="shops",
        features=FEATURES,
        slices=("colour",),
        gate=Gate(maximum_calibration_error=0.5, maximum_predict_ms=1000),
        quality=Quality(thresholds={"validity": 0.9}),
    ),
)


class World:
    """Tables, bundles and a list in Kafka's place."""

    def __init__(self, root: Path) -> None:
        self.data = rows(day_count=6, per_day=300)
        self.sent: list[tuple[str, Message]] = []
        self.lake = root / "lake"
        tables = write_tables(self.lake, self.data, closed=days(6))
        self.systems = Systems(DirectoryStore(root / "models"), tables, self.announce)
        self.split = split_days(days(6), validation_days=1, test_days=2)
        self.versions = pin_versions(tables)

    def announce(self, topic: str, sent: Iterable[Message]) -> int:
        messages = list(sent)
        self.sent += [(topic, message) for message in messages]
        return len(messages)

    def model(self, epochs: int, seed: int = 0) -> str:
        """Train a model for so many epochs and write its bundle."""
        torch.set_num_threads(1)
        train, validation, _ = spans(self.data, self.split)
        encoders = Encoders.fit(FEATURES, train.columns, bins=8)
        encoded = [
            Tensors.of(encoders.encode(r.columns), r.labels, BINARY, torch.device("cpu")) for r in (train, validation)
        ]
        network = NetworkConfig(width=16, layers=1, embedding_width=4)
        loop = build(encoders, network, LoopConfig(learning_rate=1e-2, batch_size=64, seed=seed), *encoded)
        for _ in range(parts_of(epochs)):
            loop.run_part()
        lineage: dict[str, Any] = {
            "tables": self.versions,
            "split": self.split.to_json(),
            "train_mean_label": float(train.labels.mean()),
        }
        check = {name: values[:5] for name, values in self.data.columns.items()}
        predictor = Predictor(loop.network, encoders, 1.0, target=BINARY)
        return write_bundle(self.systems.models, "shops", Contents(FEATURES, predictor, {}, check, {}, lineage))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_better_model_becomes_champion_once(world: World) -> None:
    first, second = world.model(epochs=1), world.model(epochs=6)
    assert promote(world.systems, SHOPS, first, "run-1", "test").promoted
    done = promote(world.systems, SHOPS, second, "run-2", "test")
    assert (done.promoted, done.sequence, done.parent_id) == (True, 2, first)
    assert promote(world.systems, SHOPS, second, "run-2", "test").sequence == 2
    assert [entry.model_id for entry in read_ledger(world.systems.models, "shops")] == [first, second]
    models = [message for topic, message in world.sent if topic == "shops.models"]
    assert [(key, value["sequence"]) for key, value in models] == [("shops", 1), ("shops", 2), ("shops", 2)]


def test_a_run_that_ended_before_it_told_its_figures_tells_them_when_it_is_run_again(world: World) -> None:
    first, second = world.model(epochs=1), world.model(epochs=6)
    promote(world.systems, SHOPS, first, "run-1", "test")
    promote(world.systems, SHOPS, second, "run-2", "test")
    told = figures(world.sent)
    world.sent.clear()
    assert promote(world.systems, SHOPS, second, "run-2", "test").promoted
    assert figures(world.sent) == told[1:] and len(told) == 3  # the champion's and the candidate's


def figures(sent: list[tuple[str, Message]]) -> list[tuple[str, Any]]:
    """Identity and value of the qualities that were told."""
    return [(key, value["auc"]) for topic, (key, value) in sent if topic == "shops.metrics"]


def test_a_worse_model_is_refused_and_told(world: World) -> None:
    worse, better = world.model(epochs=1), world.model(epochs=6)
    promote(world.systems, SHOPS, better, "run-1", "test")
    world.sent.clear()
    refused = promote(world.systems, SHOPS, worse, "run-2", "test")
    assert not refused.promoted
    assert "does not beat the champion" in refused.reasons[0]
    assert len(read_ledger(world.systems.models, "shops")) == 1
    assert {topic for topic, _ in world.sent} == {"shops.metrics"}
    kinds = [(value["kind"], value.get("role")) for _, (_, value) in world.sent]
    assert kinds == [("model_rejected", None), ("model_quality", "candidate"), ("model_quality", "champion")]
    (kept,) = read_refusals(world.systems.models, "shops")
    assert (kept.model_id, kept.run_id, kept.actor, kept.champion) == (worse, "run-2", "test", better)
    assert kept.reasons == refused.reasons[: len(kept.reasons)]
    assert [check.words for check in kept.checks if not check.passed] == list(kept.reasons)
    assert kept.metrics["champion"]["auc"] > kept.metrics["candidate"]["auc"]
    promote(world.systems, SHOPS, worse, "run-2", "test")
    assert len(read_refusals(world.systems.models, "shops", worse)) == 1
    assert read_refusals(world.systems.models, "shops", better) == []


def test_an_old_run_repeated_does_not_bring_its_model_back(world: World) -> None:
    first, second = world.model(epochs=1), world.model(epochs=6)
    promote(world.systems, SHOPS, first, "run-1", "test")
    promote(world.systems, SHOPS, second, "run-2", "test")
    again = promote(world.systems, SHOPS, first, "run-1", "test")
    assert not again.promoted
    assert "promoted the model before" in again.reasons[0]
    assert len(read_ledger(world.systems.models, "shops")) == 2


def test_a_candidate_of_poor_days_is_refused_until_somebody_accepts_them(world: World) -> None:
    model = world.model(epochs=6)
    when = datetime(2020, 2, 1, tzinfo=UTC)
    poor = {"ds": "2020-01-02", "source": "sales", "dimension": "validity", "value": 0.5, "time": when}
    write_deltalake(str(world.lake / "data_quality"), pa.Table.from_pylist([poor]))
    refused = promote(world.systems, SHOPS, model, "run-1", "test")
    assert refused.reasons == (
        "trained on a day of poor data: sales 2020-01-02: validity is 0.5000, below the threshold 0.9",
        "the first champion: judged against the base rate",
        "no data quality is loaded of 5 of 6 days",
    )
    assert promote(world.systems, SHOPS, model, "run-2", "ann", accept_quality=True).promoted
    (entry,) = read_ledger(world.systems.models, "shops")
    assert "accepted by ann: sales 2020-01-02: validity is 0.5000, below the threshold 0.9" in entry.reason
    assert entry.metrics["predict_ms"] > 0


def test_a_day_that_was_left_out_is_not_asked_about(world: World) -> None:
    world.split = split_days([ds for ds in days(6) if ds != "2020-01-02"], validation_days=1, test_days=2)
    poor = {"ds": "2020-01-02", "source": "sales", "dimension": "validity", "value": 0.5, "time": datetime.now(UTC)}
    write_deltalake(str(world.lake / "data_quality"), pa.Table.from_pylist([poor]))
    assert promote(world.systems, SHOPS, world.model(epochs=6), "run-1", "test").promoted


def test_a_person_is_asked_about_what_the_gate_lets_pass_alone(world: World) -> None:
    worse, better = world.model(epochs=1), world.model(epochs=6)
    promote(world.systems, SHOPS, worse, "run-1", "test")
    words = judge(world.systems, SHOPS, better, "run-2", "test")
    assert f"candidate `{better}` pass" in words and f"| champion {worse[:12]} |" in words
    assert len(read_ledger(world.systems.models, "shops")) == 1, "to ask changes nothing"
    approval = Approval(True, "ann", "good enough")
    assert promote(world.systems, SHOPS, better, "run-2", "test", approval=approval).promoted
    assert read_ledger(world.systems.models, "shops")[-1].reason.endswith("; approved by ann: good enough")
    assert judge(world.systems, SHOPS, worse, "run-3", "test") == ""
    assert [refusal.run_id for refusal in read_refusals(world.systems.models, "shops")] == ["run-3"]
    assert "champion already, by ledger line 2" in judge(world.systems, SHOPS, better, "run-4", "test")


def test_a_rejection_refuses_and_an_approval_does_not_overrule_the_gate(world: World) -> None:
    worse, better = world.model(epochs=1), world.model(epochs=6)
    refused = promote(world.systems, SHOPS, better, "run-1", "test", approval=Approval(False, "ann", "not on a Friday"))
    assert (refused.promoted, refused.reasons[0]) == (False, "rejected by ann: not on a Friday")
    (kept,) = read_refusals(world.systems.models, "shops")
    assert kept.reasons == ("rejected by ann: not on a Friday",) and all(check.passed for check in kept.checks)
    late = promote(world.systems, SHOPS, better, "run-2", "test", approval=Approval(False, ""))
    assert late.reasons[0] == "nobody approved it in time"
    assert read_ledger(world.systems.models, "shops") == []
    promote(world.systems, SHOPS, better, "run-3", "test")
    overruled = promote(world.systems, SHOPS, worse, "run-4", "test", approval=Approval(True, "ann"))
    assert not overruled.promoted and "does not beat the champion" in overruled.reasons[0]
