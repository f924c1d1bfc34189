"""A bundle loads as it was written; every way of tampering with it is found; it needs none of the training stack."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from include.bundle.bundle import (
    BundleCorrupt,
    Contents,
    FeatureMismatch,
    SelfCheckFailed,
    canonical,
    load_bundle,
    read_files,
    write_bundle,
)
from include.bundle.store import DirectoryStore, ObjectMissing
from include.locations import Models
from tests.training.synthetic import FEATURES, rows, untrained

USE_CASE = "shops"
DATA = rows(day_count=1, per_day=400)


def contents() -> Contents:
    predictor = untrained(DATA, seed=3, bins=8, temperature=1.3)
    check = {name: values[:20] for name, values in DATA.columns.items()}
    card = {"model_card.md": b"# Shops\n", "reliability.png": b"\x89PNG"}
    return Contents(FEATURES, predictor, {"shops": b"id,size\n1,2\n"}, check, {"auc": 0.7}, {"run_id": "r"}, card)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


def folder(store: DirectoryStore, model_id: str) -> Path:
    return store.root / Models(USE_CASE).bundle_prefix(model_id)


def test_a_bundle_answers_as_the_model_it_was_made_of(store: DirectoryStore) -> None:
    made = contents()
    model_id = write_bundle(store, USE_CASE, made)
    bundle = load_bundle(store, USE_CASE, model_id, FEATURES)
    np.testing.assert_allclose(bundle.answers(DATA.columns), made.predictor.answers(DATA.columns), atol=1e-7)
    assert bundle.references == {"shops": b"id,size\n1,2\n"}
    assert bundle.lineage == {"run_id": "r"}
    assert bundle.feature_names == tuple(feature.name for feature in FEATURES.features)


def test_the_id_follows_from_the_contents_alone(store: DirectoryStore) -> None:
    first = write_bundle(store, USE_CASE, contents())
    assert first == write_bundle(store, USE_CASE, contents())
    assert first != write_bundle(store, USE_CASE, replace(contents(), lineage={"run_id": "other"}))


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "network.json", "encoders.json", "features.json", "references/shops.csv"]
)
def test_a_changed_or_missing_file_is_found(store: DirectoryStore, name: str) -> None:
    model_id = write_bundle(store, USE_CASE, contents())
    path = folder(store, model_id) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BundleCorrupt, match=name):
        load_bundle(store, USE_CASE, model_id, FEATURES)
    path.unlink()
    with pytest.raises(BundleCorrupt, match="missing"):
        load_bundle(store, USE_CASE, model_id, FEATURES)


def test_a_damaged_card_is_found_by_those_who_read_it_and_stops_no_answer(store: DirectoryStore) -> None:
    model_id = write_bundle(store, USE_CASE, contents())
    assert read_files(store, USE_CASE, model_id)["card/model_card.md"] == b"# Shops\n"
    card = folder(store, model_id) / "card"
    (card / "model_card.md").write_bytes(b"# Hoops\n")
    with pytest.raises(BundleCorrupt, match=r"card/model_card\.md differs"):
        read_files(store, USE_CASE, model_id)
    assert load_bundle(store, USE_CASE, model_id, FEATURES).references == {"shops": b"id,size\n1,2\n"}
    for file in card.iterdir():
        file.unlink()
    with pytest.raises(BundleCorrupt, match="missing"):
        read_files(store, USE_CASE, model_id)
    load_bundle(store, USE_CASE, model_id, FEATURES)


def test_another_card_is_another_bundle_and_none_is_a_bundle_too(store: DirectoryStore) -> None:
    with_card = write_bundle(store, USE_CASE, contents())
    without = write_bundle(store, USE_CASE, replace(contents(), card={}))
    assert with_card != without
    assert load_bundle(store, USE_CASE, without, FEATURES).references == {"shops": b"id,size\n1,2\n"}


def test_a_changed_manifest_is_found(store: DirectoryStore) -> None:
    model_id = write_bundle(store, USE_CASE, contents())
    path = folder(store, model_id) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"format":2', b'"format":3'))
    with pytest.raises(BundleCorrupt, match="manifest"):
        load_bundle(store, USE_CASE, model_id, FEATURES)


def test_without_a_manifest_there_is_no_bundle(store: DirectoryStore) -> None:
    with pytest.raises(ObjectMissing):
        load_bundle(store, USE_CASE, "0" * 64, FEATURES)


def test_another_feature_definition_is_refused(store: DirectoryStore) -> None:
    model_id = write_bundle(store, USE_CASE, contents())
    with pytest.raises(FeatureMismatch):
        load_bundle(store, USE_CASE, model_id, replace(FEATURES, features=FEATURES.features[::-1]))


def test_a_bundle_that_answers_otherwise_than_when_written_is_refused(store: DirectoryStore) -> None:
    """Somebody builds a consistent bundle whose expected answers are those of another model."""
    model_id = write_bundle(store, USE_CASE, contents())
    files = folder(store, model_id)
    check = json.loads((files / "self_check.json").read_bytes())
    check["answers"] = [1 - p for p in check["answers"]]
    forged = store.root / "forged"
    data = canonical(check)
    manifest = json.loads((files / "manifest.json").read_bytes())
    manifest["files"]["self_check.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    new_id = hashlib.sha256(canonical(manifest)).hexdigest()
    files.rename(forged)
    target = folder(store, new_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    forged.rename(target)
    (target / "self_check.json").write_bytes(data)
    (target / "manifest.json").write_bytes(canonical(manifest))
    with pytest.raises(SelfCheckFailed):
        load_bundle(store, USE_CASE, new_id, FEATURES)


def test_loading_needs_none_of_the_training_stack() -> None:
    heavy = ["ray", "airflow", "pyspark", "lightgbm", "optuna", "sklearn", "deltalake", "matplotlib"]
    code = f"import sys, include.bundle.bundle, include.bundle.store; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
