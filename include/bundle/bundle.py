"""A model with all it needs, as immutable files under the hash of what is in them.

    manifest.json       sha256 and size of every other file; its own sha256 is the model's id; written last
    weights.safetensors network.json encoders.json features.json references/*.csv
    self_check.json     raw feature rows and the answers they gave when the bundle was written
    metrics.json lineage.json
    card/*              the model card for people: Markdown, JSON and plots

Nothing in it is code or a pickle. Loading needs Torch, NumPy, safetensors and boto3 only, so that the speed service
can do it; it leaves the card where it is. It does not know how models are trained or promoted.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from include.bundle.store import ObjectMissing, ObjectStore
from include.features.spec import FeatureSet
from include.locations import Models
from include.target import TARGETS, Target
from include.training.encoding import Encoders
from include.training.folding import FoldedNetwork
from include.training.network import Network, NetworkConfig

#: 2: the network says what kind of target it has.
FORMAT = 2
MANIFEST = "manifest.json"
REFERENCES = "references/"
CARD = "card/"
#: So many characters of an id must be given at least to name a model.
SHORTEST_ID = 8
#: Float32 kernels differ between machines by less than this (in probability, or as a share of an answer above 1); a
#: wrong encoder differs by far more.
SELF_CHECK_TOLERANCE = 1e-4


class BundleError(RuntimeError):
    """A bundle cannot be used; subclasses say why."""


class BundleCorrupt(BundleError):
    """A file is missing, or differs from what the manifest says."""


class UnknownModel(BundleError):
    """No bundle, or more than one, has an id with this beginning."""


class FeatureMismatch(BundleError):
    """The bundle was trained on another feature definition than the one that this code computes."""


class SelfCheckFailed(BundleError):
    """The loaded network does not give the answers that it gave when the bundle was written."""


@dataclass(frozen=True)
class Predictor:
    """A trained network with its encoders and temperature: raw feature columns in, answers out. On the CPU."""

    network: Network
    encoders: Encoders
    temperature: float
    target: Target

    def answers(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Calibrated probabilities or expected counts, float64 ``[n]``, for ``n`` rows given as feature columns."""
        return self.target.respond(self._folded.scores(columns) / self.temperature)

    @cached_property
    def _folded(self) -> FoldedNetwork:
        return FoldedNetwork(self.network, self.encoders)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. ``references`` holds the reference tables as CSV bytes with a header, by name."""

    use_case: str
    model_id: str
    predictor: Predictor
    feature_names: tuple[str, ...]
    features_hash: str
    references: Mapping[str, bytes]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]

    def answers(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Calibrated probabilities or expected counts, float64 ``[n]``, for ``n`` rows given as feature columns."""
        return self.predictor.answers(columns)


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    ``self_check`` are a few raw feature rows as columns; ``card`` are the files of the model card, by name.
    """

    features: FeatureSet
    predictor: Predictor
    references: Mapping[str, bytes]
    self_check: Mapping[str, NDArray[Any]]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    card: Mapping[str, bytes] = field(default_factory=dict)


def canonical(document: Any) -> bytes:
    """JSON with one spelling per value: sorted keys, no spaces, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def packed_weights(network: Network) -> bytes:
    """A network's weights as safetensors; equal weights give equal bytes."""
    return save({name: tensor.detach().contiguous().clone() for name, tensor in network.state_dict().items()})


def bundle_files(use_case: str, contents: Contents) -> dict[str, bytes]:
    """Every file of a bundle but its manifest, by name within the bundle."""
    predictor, features = contents.predictor, contents.features
    network = predictor.network.cpu().eval()
    feature_list = [{"name": f.name, "kind": f.kind, "comment": f.comment} for f in features.features]
    files = {
        "weights.safetensors": packed_weights(network),
        "network.json": canonical(
            {**network.config.to_json(), "temperature": predictor.temperature, "target": predictor.target.kind}
        ),
        "encoders.json": canonical(predictor.encoders.to_json()),
        "features.json": canonical({"use_case": use_case, "hash": features.hash(), "features": feature_list}),
        "self_check.json": canonical(_self_check(predictor, contents.self_check)),
        "metrics.json": canonical(contents.metrics),
        "lineage.json": canonical(contents.lineage),
    }
    references = {f"{REFERENCES}{name}.csv": data for name, data in contents.references.items()}
    return files | references | {f"{CARD}{name}": data for name, data in contents.card.items()}


def write_bundle(store: ObjectStore, use_case: str, contents: Contents) -> str:
    """Write a bundle and return its model id. The same contents again change nothing and give the same id.

    The manifest comes last: a bundle without one does not exist.
    """
    files = bundle_files(use_case, contents)
    entries = {name: {"sha256": hashlib.sha256(d).hexdigest(), "size": len(d)} for name, d in files.items()}
    manifest = canonical({"format": FORMAT, "use_case": use_case, "files": entries})
    model_id = hashlib.sha256(manifest).hexdigest()
    prefix = Models(use_case).bundle_prefix(model_id)
    for name, data in files.items():
        store.put_if_absent(prefix + name, data)
    store.put_if_absent(prefix + MANIFEST, manifest)
    return model_id


def find_model(store: ObjectStore, use_case: str, beginning: str) -> str:
    """The id of the only bundle whose id begins so; raises ``UnknownModel``."""
    prefix = Models(use_case).bundles_prefix
    ids = {key.removeprefix(prefix).partition("/")[0] for key in store.keys(prefix + beginning)}
    if len(beginning) < SHORTEST_ID or len(ids) != 1:
        raise UnknownModel(
            f"{beginning!r} names {len(ids)} bundles: give one's id, or at least its first {SHORTEST_ID} characters"
        )
    return ids.pop()


def read_files(store: ObjectStore, use_case: str, model_id: str, *, card: bool = True) -> dict[str, bytes]:
    """Every file of a bundle by name, each checked against the manifest, and that against the id.

    Without ``card`` the model card's files are neither read nor checked: no answer depends on them.
    Raises ``BundleCorrupt``; ``ObjectMissing`` if there is no such bundle.
    """
    prefix = Models(use_case).bundle_prefix(model_id)
    manifest = store.get(prefix + MANIFEST)
    if hashlib.sha256(manifest).hexdigest() != model_id:
        raise BundleCorrupt(f"bundle {model_id[:12]}: {MANIFEST} does not hash to the model id")
    document = json.loads(manifest)
    if document["use_case"] != use_case:
        raise BundleCorrupt(f"bundle {model_id[:12]} is of use case {document['use_case']!r}")
    if document["format"] != FORMAT:
        raise BundleCorrupt(
            f"bundle {model_id[:12]} has format {document['format']}, this code reads {FORMAT}: train a model with it"
        )
    entries = {name: entry for name, entry in document["files"].items() if card or not name.startswith(CARD)}
    return {name: _verified(store, prefix, name, entry) for name, entry in entries.items()}


def load_bundle(store: ObjectStore, use_case: str, model_id: str, features: FeatureSet) -> Bundle:
    """Load and verify a bundle: hashes, the feature definition of the running code, and the self-check batch.

    Raises ``BundleCorrupt``, ``FeatureMismatch``, ``SelfCheckFailed``, or ``ObjectMissing`` if there is none.
    """
    files = read_files(store, use_case, model_id, card=False)
    declared = json.loads(files["features.json"])
    if declared["hash"] != features.hash():
        raise FeatureMismatch(
            f"bundle {model_id[:12]} was trained on feature definition {declared['hash'][:12]}; "
            f"this code computes {features.hash()[:12]}"
        )
    predictor = _predictor(model_id, files)
    _run_self_check(model_id, predictor, json.loads(files["self_check.json"]))
    return Bundle(
        use_case=use_case,
        model_id=model_id,
        predictor=predictor,
        feature_names=tuple(feature["name"] for feature in declared["features"]),
        features_hash=declared["hash"],
        references=references_in(files),
        metrics=json.loads(files["metrics.json"]),
        lineage=json.loads(files["lineage.json"]),
    )


def references_in(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of a bundle's files the reference tables, CSV with a header, by name."""
    tables = {name: data for name, data in files.items() if name.startswith(REFERENCES)}
    return {name.removeprefix(REFERENCES).removesuffix(".csv"): data for name, data in tables.items()}


def _verified(store: ObjectStore, prefix: str, name: str, entry: Mapping[str, Any]) -> bytes:
    try:
        data = store.get(prefix + name)
    except ObjectMissing as error:
        raise BundleCorrupt(f"bundle file {prefix}{name} is missing") from error
    if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise BundleCorrupt(f"bundle file {prefix}{name} differs from its manifest")
    return data


def _predictor(model_id: str, files: Mapping[str, bytes]) -> Predictor:
    settings = json.loads(files["network.json"])
    encoders = Encoders.from_json(json.loads(files["encoders.json"]))
    network = Network(encoders, NetworkConfig.from_mapping(settings))
    try:
        network.load_state_dict(load(files["weights.safetensors"]))
    except (SafetensorError, RuntimeError) as error:
        raise BundleCorrupt(f"bundle {model_id[:12]}: the weights do not fit the network: {error}") from error
    return Predictor(network.eval(), encoders, float(settings["temperature"]), TARGETS[settings["target"]])


def _self_check(predictor: Predictor, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        "columns": {name: [_to_json(value) for value in values] for name, values in columns.items()},
        "answers": [float(given) for given in predictor.answers(columns)],
    }


def _to_json(value: Any) -> str | float | None:
    if value is None or isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else None


def _run_self_check(model_id: str, predictor: Predictor, document: Mapping[str, Any]) -> None:
    numeric = {encoder.name for encoder in predictor.encoders.numeric}
    columns = {
        name: np.array(values, dtype=np.float64 if name in numeric else object)
        for name, values in document["columns"].items()
    }
    expected = np.array(document["answers"])
    off = np.abs(predictor.answers(columns) - expected) / np.maximum(1.0, expected)
    worst = float(off.max(initial=0.0))
    if not worst <= SELF_CHECK_TOLERANCE:
        raise SelfCheckFailed(f"bundle {model_id[:12]}: the self-check is off by {worst:.2e}")
