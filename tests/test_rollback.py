"""A rollback appends one line whoever asks how often, goes further back each time, and loses a race out loud."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from include.broadcast import Message
from include.bundle.bundle import Contents, Predictor, write_bundle
from include.bundle.store import DirectoryStore
from include.ledger import Entry, append, read_ledger
from include.locations import Models
from include.rollback import Request, Rollback, RollbackRefused, choose, demote, roll_back
from include.target import BINARY
from include.training.encoding import Encoders
from include.training.network import Network, NetworkConfig
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, rows

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES))
DATA = rows(day_count=1, per_day=200)
BACK = Request(None, "it answers too late", "ann", "run-back")


def line(sequence: int, model_id: str, parent_id: str | None, event: str = "promoted") -> Entry:
    run_id = f"run-{sequence}"
    return Entry(sequence, "2020-01-01T00:00:00.000Z", event, model_id, parent_id, "bob", "because", run_id)  # type: ignore[arg-type]


def named(letter: str) -> str:
    return letter * 64


A, B, C = named("a"), named("b"), named("c")


@pytest.mark.parametrize(
    ("ledger", "chosen"),
    [
        ([line(1, A, None), line(2, B, A)], A),
        ([line(1, A, None), line(2, B, A), line(3, C, B)], B),
        # Again after a rollback: further back, not to the model that was rolled back from.
        ([line(1, A, None), line(2, B, A), line(3, C, B), line(4, B, C, "rolled_back")], A),
        # A promotion after a rollback replaced what was rolled back to.
        ([line(1, A, None), line(2, B, A), line(3, A, B, "rolled_back"), line(4, C, A)], A),
    ],
)
def test_the_one_before_is_what_the_champion_replaced(ledger: list[Entry], chosen: str) -> None:
    assert choose(ledger, None).model_id == chosen


def test_an_earlier_champion_is_known_by_the_beginning_of_its_id() -> None:
    ledger = [line(1, A, None), line(2, B, A), line(3, C, B)]
    assert choose(ledger, A[:8]).model_id == A
    assert choose(ledger, f" {A} ").model_id == A


@pytest.mark.parametrize(
    ("ledger", "asked", "why"),
    [
        ([], None, "no champion yet"),
        ([line(1, A, None)], None, "is the first champion"),
        ([line(1, A, None), line(2, B, A), line(3, A, B, "rolled_back")], None, "is the first champion"),
        ([line(1, A, None), line(2, B, A)], B, "is the champion already, by ledger line 2"),
        ([line(1, A, None), line(2, B, A)], C, "was never champion; those who were, newest first: bbbbbbbbbbbb, aaaa"),
        ([line(1, A, None), line(2, B, A)], "aaa", "too short"),
        ([line(1, A, None), line(2, A[:-1] + "b", A), line(3, C, A)], A[:8], "fits 2 champions"),
    ],
)
def test_what_cannot_be_rolled_back_to_is_refused_in_words(ledger: list[Entry], asked: str | None, why: str) -> None:
    with pytest.raises(RollbackRefused, match=why):
        choose(ledger, asked)


class World:
    """Bundles and a ledger in a folder, and a list in Kafka's place."""

    def __init__(self, root: Path) -> None:
        self.models = DirectoryStore(root)
        self.sent: list[tuple[str, Message]] = []
        self.withdrawn_from: set[int] = set()
        self.ids = [self.bundle(seed) for seed in (1, 2, 3)]
        parents = [None, *self.ids]
        for number, model_id in enumerate(self.ids):
            entry = replace(line(number + 1, model_id, parents[number]), metrics={"candidate": {"auc": 0.7 + number}})
            append(self.models, "shops", entry)

    def bundle(self, seed: int) -> str:
        torch.manual_seed(seed)
        encoders = Encoders.fit(FEATURES, DATA.columns, bins=4)
        network = Network(encoders, NetworkConfig(width=4, layers=1, embedding_width=2)).eval()
        check = {name: values[:5] for name, values in DATA.columns.items()}
        return write_bundle(
            self.models,
            "shops",
            Contents(FEATURES, Predictor(network, encoders, 1.0, target=BINARY), {}, check, {}, {"seed": seed}),
        )

    def touched(self, lineage: Mapping[str, Any]) -> dict[str, list[str]]:
        """The models of some seeds were trained on withdrawn facts."""
        return {"sales of 2020-01-03": ["2020-01-03"]} if lineage["seed"] in self.withdrawn_from else {}

    def announce(self, topic: str, sent: Iterable[Message]) -> int:
        messages = list(sent)
        self.sent += [(topic, message) for message in messages]
        return len(messages)

    def back(self, request: Request = BACK) -> Rollback:
        return roll_back(self.models, self.announce, SHOPS, self.touched, request)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_ledger_says_who_why_and_which(world: World) -> None:
    done = world.back()
    head = read_ledger(world.models, "shops")[-1]
    assert (head.event, head.model_id, head.parent_id) == ("rolled_back", world.ids[1], world.ids[2])
    assert (head.actor, head.reason, head.run_id) == ("ann", "it answers too late", "run-back")
    assert head.metrics == {"candidate": {"auc": 1.7}}
    assert (done.model_id, done.sequence) == (world.ids[1], 4)
    ((topic, (key, value)),) = world.sent
    assert (topic, key) == ("shops.models", "shops")
    assert (value["event"], value["model_id"], value["sequence"]) == ("rolled_back", world.ids[1], 4)
    assert value["bundle"].endswith(f"shops/bundles/{world.ids[1]}/")


def test_the_same_run_again_broadcasts_and_appends_nothing(world: World) -> None:
    first, again = world.back(), world.back()
    assert (first.model_id, first.sequence) == (again.model_id, again.sequence)
    assert len(read_ledger(world.models, "shops")) == 4
    assert world.sent[0] == world.sent[1]
    further = world.back(replace(BACK, run_id="run-further"))
    assert further.model_id == world.ids[0]
    late = world.back()
    assert (late.sequence, late.reasons) == (None, ("this run wrote ledger line 4 before; line 5 holds now",))
    assert len(world.sent) == 3


def test_a_model_that_cannot_be_served_does_not_become_champion(world: World) -> None:
    weights = world.models.root / Models("shops").bundle_prefix(world.ids[1]) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(RollbackRefused, match=r"cannot be served: .*weights\.safetensors differs"):
        world.back()
    other = cast(UseCase, SimpleNamespace(name="shops", features=replace(FEATURES, features=FEATURES.features[::-1])))
    with pytest.raises(RollbackRefused, match="another|feature definition"):
        roll_back(world.models, world.announce, other, world.touched, replace(BACK, model_id=world.ids[0]))
    assert len(read_ledger(world.models, "shops")) == 3
    assert world.sent == []


class SlowStore(DirectoryStore):
    """Every writer of the ledger has read it before the first one writes."""

    def __init__(self, root: Path, writers: int) -> None:
        super().__init__(root)
        self.ready = threading.Barrier(writers)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.ready.wait(30)
        return super().put_if_absent(key, data)


def test_of_racing_rollbacks_one_wins_and_the_others_are_told_who(world: World) -> None:
    store = SlowStore(world.models.root, 4)

    def attempt(number: int) -> Rollback | RollbackRefused:
        request = Request(None, f"reason {number}", f"actor-{number}", f"race-{number}")
        try:
            return roll_back(store, world.announce, SHOPS, world.touched, request)
        except RollbackRefused as refused:
            return refused

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    lost = [outcome for outcome in outcomes if isinstance(outcome, RollbackRefused)]
    head = read_ledger(world.models, "shops")[-1]
    assert (len(lost), head.sequence) == (3, 4)
    for refused in lost:
        assert f"meanwhile {head.actor} wrote ledger line 4, rolled_back {head.model_id[:12]} ({head.reason})" in str(
            refused
        )
    assert len(world.sent) == 1


def test_answers_of_the_two_models_differ(world: World) -> None:
    """Else the tests above would not tell them apart."""
    from include.bundle.bundle import load_bundle

    answers = [load_bundle(world.models, "shops", i, FEATURES).answers(DATA.columns) for i in world.ids]
    assert not np.allclose(answers[0], answers[1])


def test_a_model_of_withdrawn_facts_is_not_rolled_back_to(world: World) -> None:
    world.withdrawn_from = {2}
    with pytest.raises(RollbackRefused, match="trained on withdrawn facts: sales of 2020-01-03"):
        world.back()
    assert world.back(replace(BACK, model_id=world.ids[0])).model_id == world.ids[0]


def down(world: World, request: Request = BACK) -> Rollback:
    return demote(world.models, world.announce, SHOPS, world.touched, request)


@pytest.mark.parametrize(("withdrawn_from", "champion"), [({3}, 1), ({2, 3}, 0), ({3, 1}, 1)])
def test_a_champion_of_withdrawn_facts_gives_way_to_the_best_that_is_none(
    world: World, withdrawn_from: set[int], champion: int
) -> None:
    world.withdrawn_from = withdrawn_from
    done = down(world)
    head = read_ledger(world.models, "shops")[-1]
    assert (head.event, head.model_id, done.sequence) == ("rolled_back", world.ids[champion], 4)
    assert head.reason.startswith("it answers too late; ") and "sales of 2020-01-03" in head.reason
    assert down(world).sequence == 4 and len(read_ledger(world.models, "shops")) == 4
    again = down(world, replace(BACK, run_id="another"))
    assert again.sequence is None and "it stays" in again.reasons[0]


def test_an_untouched_champion_stays(world: World) -> None:
    world.withdrawn_from = {1, 2}
    assert down(world).sequence is None
    assert world.sent == []


def test_without_an_untouched_champion_it_is_said_what_to_do(world: World) -> None:
    world.withdrawn_from = {1, 2, 3}
    with pytest.raises(RollbackRefused, match=r"no earlier champion is untouched: .*train_model"):
        down(world)
    assert len(read_ledger(world.models, "shops")) == 3


def test_a_damaged_earlier_champion_is_passed_over(world: World) -> None:
    world.withdrawn_from = {3}
    weights = world.models.root / Models("shops").bundle_prefix(world.ids[1]) / "weights.safetensors"
    weights.unlink()
    assert down(world).model_id == world.ids[0]
