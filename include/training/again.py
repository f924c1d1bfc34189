"""A model trained again from its lineage: the pinned tables, the days, the configuration and the seed of its bundle.

    python -m include.training.again MODEL_ID [--use-case NAME] [--json]

The winning trial runs again as long as its best weights took, then the last training; the search itself does not. On
the same kind of machine, with the same thread count and versions, every weight comes out the same. It reads the lake
and the models bucket and changes nothing. It does not judge the model.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from deltalake.exceptions import DeltaError

from include.bundle.bundle import (
    Bundle,
    BundleError,
    Predictor,
    UnknownModel,
    canonical,
    find_model,
    load_bundle,
    packed_weights,
)
from include.bundle.store import ObjectMissing, ObjectStore, S3Store
from include.locations import MODELS_BUCKET
from include.settings import S3Settings
from include.training.dataset import Dataset, DatasetError, Split, Tables, load_dataset
from include.training.finish import finish
from include.training.loop import Loop, best_device, parts_of
from include.training.material import Material
from include.training.provenance import provenance
from include.training.recipe import Team
from include.training.scratch import Scratch, scratch_from_environment
from include.use_case import UseCase, load_use_case
from include.use_cases import chosen_use_case

#: A trial's process has one thread (see ``tune``); the last training has the machine's.
THREADS_OF_A_TRIAL = 1


#: What a lineage must name for its model to be trained again.
NEEDED = ("tables", "split", "request", "config", "seed", "epochs", "continued_from")


class NotTrainable(ValueError):
    """The model cannot be trained again here; the message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """One part of the model, by its hash: as the bundle has it, and as it came out again."""

    name: str
    kept: str
    again: str

    @property
    def same(self) -> bool:
        """Whether it is equal to the bit."""
        return self.kept == self.again


@dataclass(frozen=True)
class Again:
    """What came out. ``largest``: the largest difference of a weight; ``circumstances``: what is not as it was then,
    name to (then, now)."""

    model_id: str
    rows: Mapping[str, int]
    parts: tuple[Part, ...]
    largest: float
    circumstances: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        """Whether every part is equal to the bit."""
        return all(part.same for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {**document, "same": self.same}

    def lines(self) -> list[str]:
        """For people."""
        changed = [f"  {name}: {then} then, {now} now" for name, (then, now) in self.circumstances.items()]
        return [
            f"model {self.model_id} trained again on {self.rows['train']} + {self.rows['validation']} rows",
            *(f"  {part.name}: {'the same' if part.same else 'DIFFERENT'} {part.again}" for part in self.parts),
            *([] if self.same else [f"  the largest difference of a weight is {self.largest:.3g}"]),
            *(["not as it was then", *changed] if changed else ["code, packages and machine are as they were then"]),
        ]


def train_again(tables: Tables, models: ObjectStore, use_case: UseCase, model_id: str, scratch: Scratch) -> Again:
    """Train a bundle's model again and compare; ``model_id`` may be its first characters.

    Raises ``NotTrainable``: there is no such bundle, it or what it went on from cannot be loaded, a table version is
    gone, or the features' definition is another one by now.
    """
    bundle = _bundle(models, use_case, _whole_id(models, use_case, model_id))
    dataset = _dataset(tables, use_case, bundle, scratch)
    machine = bundle.lineage.get("machine", {})
    predictor = _train(models, use_case, bundle, dataset, machine, scratch)
    now = provenance(machine.get("workers", 1))
    kept, again = _hashes(bundle.predictor), _hashes(predictor)
    return Again(
        model_id=bundle.model_id,
        rows={"train": len(dataset.train), "validation": len(dataset.validation)},
        parts=tuple(Part(name, kept[name], again[name]) for name in kept),
        largest=_largest(bundle.predictor, predictor),
        circumstances=dict(_changed({name: bundle.lineage.get(name) for name in now}, now)),
    )


def _whole_id(models: ObjectStore, use_case: UseCase, beginning: str) -> str:
    try:
        return find_model(models, use_case.name, beginning)
    except UnknownModel as error:
        raise NotTrainable(str(error)) from error


def _bundle(models: ObjectStore, use_case: UseCase, model_id: str) -> Bundle:
    try:
        return load_bundle(models, use_case.name, model_id, use_case.features)
    except (BundleError, ObjectMissing) as error:
        raise NotTrainable(f"model {model_id[:12]} cannot be loaded here: {error}") from error


def _dataset(tables: Tables, use_case: UseCase, bundle: Bundle, scratch: Scratch) -> Dataset:
    """The three spans as they were read then."""
    missing = [name for name in NEEDED if name not in bundle.lineage]
    if missing:
        raise NotTrainable(f"the lineage of model {bundle.model_id[:12]} does not name {', '.join(missing)}")
    split = Split(**{name: tuple(part["days"]) for name, part in bundle.lineage["split"].items()})
    versions = bundle.lineage["tables"]
    try:
        return load_dataset(tables, versions, use_case.features, use_case.target, split, scratch)
    except (DatasetError, DeltaError, FileNotFoundError) as error:
        pinned = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
        raise NotTrainable(
            f"the rows of table versions {pinned} cannot be read any more: {error}. maintain_tables keeps those of "
            "bundles that lie in the models bucket"
        ) from error


def _train(
    models: ObjectStore,
    use_case: UseCase,
    bundle: Bundle,
    dataset: Dataset,
    machine: Mapping[str, Any],
    scratch: Scratch,
) -> Predictor:
    lineage = bundle.lineage
    continued = lineage["continued_from"]
    former = _bundle(models, use_case, continued).predictor if continued else None
    material = Material.following(former, use_case.features, dataset.train, dataset.validation, scratch)
    with _threads(THREADS_OF_A_TRIAL):
        loop = _trial(material, lineage)
    with _threads(machine.get("threads", torch.get_num_threads())), _team(machine.get("workers", 1)) as team:
        on_cpu = _on_cpu(material, lineage, loop)
        return finish(on_cpu, material, dataset.validation.days, best_device(), team).final


def _begin(material: Material, lineage: Mapping[str, Any], device: torch.device) -> Loop:
    epochs = lineage["request"]["epochs"]
    return material.begin(lineage["config"], epochs, lineage["seed"], *material.tensors(device))


def _trial(material: Material, lineage: Mapping[str, Any]) -> Loop:
    """The winning trial up to its best weights."""
    loop = _begin(material, lineage, best_device())
    for _ in range(parts_of(lineage["epochs"])):
        loop.run_part()
    return loop


def _on_cpu(material: Material, lineage: Mapping[str, Any], trained: Loop) -> Loop:
    """The trial as a search hands it on."""
    loop = _begin(material, lineage, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        trained.save(Path(folder))
        loop.restore(Path(folder))
    return loop


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _team(workers: int) -> Iterator[Team | None]:
    """Several processes share the last training only if they did so then."""
    if workers == 1:
        yield None
        return
    # Ray takes seconds to import.
    from include.training.tune import connect_ray

    connect_ray()
    with tempfile.TemporaryDirectory() as folder:
        yield Team(workers, folder, None)


def _hashes(predictor: Predictor) -> dict[str, str]:
    """SHA-256 of each part."""
    parts = {
        "weights": packed_weights(predictor.network),
        "network": canonical(predictor.network.config.to_json()),
        "encoders": canonical(predictor.encoders.to_json()),
        "temperature": canonical(predictor.temperature),
    }
    return {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}


def _largest(kept: Predictor, again: Predictor) -> float:
    """The largest difference of a weight; infinite where the networks do not compare."""
    first, second = kept.network.state_dict(), again.network.state_dict()
    shapes = [{name: tensor.shape for name, tensor in one.items()} for one in (first, second)]
    if shapes[0] != shapes[1]:
        return float("inf")
    apart = [(first[name] - second[name]).abs() for name in first]
    return max((float(found.max()) for found in apart if found.numel()), default=0.0)


def _changed(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What differs, nested names with dots."""
    for name, value in now.items():
        before = then.get(name)
        if isinstance(value, Mapping):
            yield from _changed(before if isinstance(before, Mapping) else {}, value, f"{prefix}{name}.")
        elif value != before:
            yield f"{prefix}{name}", (before, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 if another model came out, 2 if the model cannot be trained again here."""
    parser = argparse.ArgumentParser(description="Train a model again from its lineage and compare every weight.")
    parser.add_argument("model_id", help="of a bundle, or its first characters")
    parser.add_argument("--use-case", default=chosen_use_case(os.environ))
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of text")
    options = parser.parse_args(arguments)
    s3, use_case = S3Settings.from_environment(), load_use_case(options.use_case)
    tables, models = Tables.on_s3(use_case.name, s3), S3Store(s3, MODELS_BUCKET)
    try:
        with scratch_from_environment() as scratch:
            found = train_again(tables, models, use_case, options.model_id, scratch)
    except NotTrainable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.to_json(), indent=2) if options.json else "\n".join(found.lines()))
    return 0 if found.same else 1


if __name__ == "__main__":
    sys.exit(main())
