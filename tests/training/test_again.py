"""A model trained again from its bundle: the same weights; another seed, other rows or other code are told."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from deltalake import DeltaTable

from include.bundle.bundle import Contents, load_bundle, read_files, write_bundle
from include.bundle.store import DirectoryStore
from include.target import BINARY
from include.training.again import Again, NotTrainable, train_again
from include.training.dataset import Split, load_dataset, pin_versions
from include.training.finish import finish
from include.training.loop import best_device, epochs_of
from include.training.material import Material
from include.training.provenance import provenance
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, IN_MEMORY, days, rows, write_tables

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES, target=BINARY))
SPLIT = Split(tuple(days(7)[:5]), (days(7)[5],), (days(7)[6],))
EPOCHS, SEED = 2, 7
CONFIG = {"width": 16, "layers": 1, "embedding_width": 2, "dropout": 0.2, "learning_rate": 6e-3, "batch_size": 64}


class World:
    """Tables of seven days and models trained on them."""

    def __init__(self, root: Path) -> None:
        self.tables = write_tables(root / "lake", rows(day_count=7, per_day=200), closed=days(7))
        self.models = DirectoryStore(root / "models")
        self.model = self.train()

    def train(self, former: str | None = None, **lineage: Any) -> str:
        """As a training run does, but for the search."""
        versions = pin_versions(self.tables)
        data = load_dataset(self.tables, versions, FEATURES, BINARY, SPLIT, IN_MEMORY)
        known = load_bundle(self.models, "shops", former, FEATURES).predictor if former else None
        material = Material.following(known, FEATURES, data.train, data.validation, IN_MEMORY)
        loop = material.begin(CONFIG, EPOCHS, SEED, *material.tensors(torch.device("cpu")))
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        while not loop.finished:
            loop.run_part()
        torch.set_num_threads(before)
        about = {
            "request": {"epochs": EPOCHS},
            "tables": versions,
            "split": SPLIT.to_json(),
            "config": CONFIG,
            "seed": SEED,
            "epochs": epochs_of(loop.progress.best_part),
            "continued_from": former,
            **provenance(workers=1),
        }
        predictor = finish(loop, material, data.validation.days, best_device()).final
        checked = data.test.at(slice(0, 4)).columns
        return write_bundle(self.models, "shops", Contents(FEATURES, predictor, {}, checked, {}, {**about, **lineage}))

    def again(self, model_id: str) -> Again:
        return train_again(self.tables, self.models, SHOPS, model_id, IN_MEMORY)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_every_part_comes_out_the_same(world: World) -> None:
    again = world.again(world.model[:12])
    assert again.model_id == world.model and again.same, again.lines()
    assert (again.largest, again.circumstances, again.rows["train"]) == (0.0, {}, 1000)
    assert again.to_json()["same"] is True
    assert again.lines()[-1] == "code, packages and machine are as they were then"


def test_a_model_that_went_on_from_another_does_so_again(world: World) -> None:
    continued = world.train(former=world.model)
    assert world.again(continued).same and continued != world.model


def test_rows_that_were_derived_again_later_do_not_count(world: World) -> None:
    labels = DeltaTable(f"{world.tables.root}/labels")
    labels.update({"label": "1 - label"})
    try:
        assert world.again(world.model).same
    finally:
        labels.restore(0)


def test_another_seed_gives_another_model_and_says_what_is_not_as_it_was(world: World) -> None:
    elsewhere = {"code_version": "abc", "machine": {"device": "CPU 1970", "threads": 1, "workers": 1}}
    again = world.again(world.train(seed=SEED + 1, **elsewhere))
    assert not again.same and next(part.name for part in again.parts if not part.same) == "weights"
    assert again.largest > 0
    assert again.circumstances["machine.device"][0] == "CPU 1970"
    text = "\n".join(again.lines())
    assert "weights: DIFFERENT" in text and "encoders: the same" in text and "code_version: abc then" in text


@pytest.mark.parametrize(
    ("lineage", "said"),
    [({"tables": {"features": 99, "labels": 0, "book": 0}}, "features 99"), ({"continued_from": "0" * 64}, "000000")],
)
def test_what_is_gone_is_named(world: World, lineage: dict[str, Any], said: str) -> None:
    with pytest.raises(NotTrainable, match=said):
        world.again(world.train(**lineage))


def test_a_lineage_that_names_no_days_is_told(world: World) -> None:
    files = read_files(world.models, "shops", world.model)
    lineage = json.loads(files["lineage.json"])
    bundle = load_bundle(world.models, "shops", world.model, FEATURES)
    columns = rows(1, 4).columns
    bare = Contents(FEATURES, bundle.predictor, {}, columns, {}, {"tables": lineage["tables"]})
    with pytest.raises(NotTrainable, match="does not name split, request"):
        world.again(write_bundle(world.models, "shops", bare))


def test_no_such_model(world: World) -> None:
    with pytest.raises(NotTrainable, match="names 0 bundles"):
        world.again("f" * 64)


def test_another_definition_of_the_features_is_refused(world: World) -> None:
    other = replace(FEATURES, features=FEATURES.features[:-1])
    use_case = cast(UseCase, SimpleNamespace(name="shops", features=other, target=BINARY))
    with pytest.raises(NotTrainable, match="feature definition"):
        train_again(world.tables, world.models, use_case, world.model, IN_MEMORY)
