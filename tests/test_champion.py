"""The champion is loaded where it can be compared with; otherwise there is a word why not."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from include.bundle.bundle import Bundle, BundleCorrupt, Contents, write_bundle
from include.bundle.store import DirectoryStore
from include.champion import days_learned, load_champion, overlap
from include.ledger import Entry
from include.locations import Models
from include.training.dataset import Split
from include.training.train_model import _predecessor
from include.use_case import UseCase
from tests.training.synthetic import FEATURES, days, rows, untrained

SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES))
DAYS = days(6)


def written(store: DirectoryStore, former: str | None = None) -> Entry:
    data = rows(day_count=1, per_day=100)
    check = {name: values[:5] for name, values in data.columns.items()}
    lineage = {"split": {"train": {"days": DAYS[:3]}, "validation": {"days": DAYS[3:4]}, "test": {"days": DAYS[4:]}}}
    contents = Contents(FEATURES, untrained(data), {}, check, {}, lineage | {"continued_from": former})
    model_id = write_bundle(store, "shops", contents)
    return Entry(1, "2020-01-07T00:00:00Z", "promoted", model_id, None, "test", "", "run-1")


def test_the_champion_is_loaded_and_says_which_test_days_it_has_seen(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    head = written(store)
    bundle, note = load_champion(store, SHOPS, head.model_id)
    assert bundle is not None
    assert (bundle.model_id, note) == (head.model_id, "")
    assert overlap(store, bundle, DAYS[4:]) == ""
    assert overlap(store, bundle, DAYS[2:]) == "the champion was trained on 2 of the test days"


def test_days_that_a_champion_knows_from_the_one_it_went_on_from_are_seen_too(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    split = {"train": {"days": DAYS[4:5]}, "validation": {"days": []}, "test": {"days": DAYS[5:]}}
    store.put(Models("shops").bundle_prefix("a") + "lineage.json", json.dumps({"split": split}).encode())
    bundle, _ = load_champion(store, SHOPS, written(store, former="a").model_id)
    assert bundle is not None
    assert overlap(store, bundle, DAYS[4:]) == "the champion was trained on 1 of the test days"
    store.delete(Models("shops").bundle_prefix("a") + "lineage.json")
    assert overlap(store, bundle, DAYS[4:]) == ""


def test_a_model_has_learned_what_those_had_that_it_went_on_from(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for name, first, former in (("a", 0, None), ("b", 2, "a"), ("c", 4, "b")):
        split = {"train": {"days": DAYS[first : first + 1]}, "validation": {"days": DAYS[first + 1 : first + 2]}}
        lineage = {"split": split | {"test": {"days": ["later"]}}, "continued_from": former}
        store.put(Models("shops").bundle_prefix(name) + "lineage.json", json.dumps(lineage).encode())
    assert days_learned(store, "shops", "b") == set(DAYS[:4])
    assert days_learned(store, "shops", "c") == set(DAYS[:6])


def test_nothing_goes_on_from_weights_that_know_the_test_days(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    former, _ = load_champion(store, SHOPS, written(store).model_id)
    assert former is not None

    def found(validation: list[str], test: list[str]) -> tuple[Bundle | None, int, str]:
        return _predecessor(store, SHOPS, former, "", Split((), tuple(validation), tuple(test)))

    assert found(DAYS[4:5], DAYS[5:])[:2] == (former, 0)
    assert found(DAYS[3:5], DAYS[5:])[:2] == (former, 1)
    none, _, words = found(DAYS[1:2], DAYS[2:5])
    assert (none, "learned from 2 of the test days" in words) == (None, True)
    assert _predecessor(store, SHOPS, None, "there is no champion yet", Split((), (), ()))[2].startswith(
        "starting afresh"
    )


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
