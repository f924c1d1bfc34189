"""The champion is loaded where it can be compared with; otherwise there is a word why not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from include.bundle.bundle import BundleCorrupt, Contents, write_bundle
from include.bundle.store import DirectoryStore
from include.champion import load_champion, overlap
from include.ledger import Entry
from include.locations import Models
from include.use_case import UseCase, load_use_case
from tests.training.synthetic import FEATURES, days, rows, untrained

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES))
DAYS = days(6)


def written(store: DirectoryStore) -> Entry:
    data = rows(day_count=1, per_day=100)
    check = {name: values[:5] for name, values in data.columns.items()}
    lineage = {"split": {"train": {"days": DAYS[:3]}, "validation": {"days": DAYS[3:4]}, "test": {"days": DAYS[4:]}}}
    model_id = write_bundle(store, "shops", Contents(FEATURES, untrained(data), {}, check, {}, lineage))
    return Entry(1, "2020-01-07T00:00:00Z", "promoted", model_id, None, "test", "", "run-1")


def test_the_champion_is_loaded_and_says_which_test_days_it_has_seen(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    head = written(store)
    bundle, note = load_champion(store, SHOPS, head.model_id)
    assert bundle is not None
    assert (bundle.model_id, note) == (head.model_id, "")
    assert overlap(bundle, DAYS[4:]) == ""
    assert overlap(bundle, DAYS[2:]) == "the champion was trained on 2 of the test days"


def test_without_a_comparable_champion_there_is_a_word_why(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert load_champion(store, SHOPS, None) == (None, "there is no champion yet")
    head = written(store)
    other = cast(UseCase, SimpleNamespace(name="shops", features=replace(FEATURES, features=FEATURES.features[::-1])))
    bundle, note = load_champion(store, other, head.model_id)
    assert bundle is None
    assert note == f"champion {head.model_id[:12]} has another feature definition"


def test_a_damaged_champion_is_an_error(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    head = written(store)
    store.delete(Models("shops").bundle_prefix(head.model_id) + "weights.safetensors")
    with pytest.raises(BundleCorrupt, match="missing"):
        load_champion(store, SHOPS, head.model_id)


def test_a_use_case_slices_by_its_features_alone() -> None:
    use_case = load_use_case("flight_delay")
    some = use_case.features.features[0].name
    assert replace(use_case, slices=(some,)).slices == (some,)
    with pytest.raises(ValueError, match=r"slices by \['no such'\]"):
        replace(use_case, slices=(some, "no such"))
