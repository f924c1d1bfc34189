"""A bundle that was damaged, cut short, mixed up or exchanged is never served: more than a thousand ways, same seed."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from include.bundle.bundle import Contents, canonical, write_bundle
from include.bundle.store import ObjectMissing
from include.ledger import Entry
from include.locations import Models
from include.use_case import UseCase
from speed_service.champion import BundleRejected, load_champion
from tests.training.synthetic import FEATURES, rows, untrained

SEED = 20130101
MUTATIONS = 1200
SHOPS = cast(UseCase, SimpleNamespace(name="shops", features=FEATURES))
DATA = rows(day_count=1, per_day=200)
Objects = dict[str, bytes]


class Memory:
    """An object store of a dictionary."""

    url = "memory://"

    def __init__(self, objects: Objects | None = None) -> None:
        self.objects = dict(objects or {})

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"no object {key}")
        return self.objects[key]

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(key, data) is data

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


def bundle(seed: int) -> tuple[str, Objects]:
    """A small model's id and files, by key."""
    check = {name: values[:10] for name, values in DATA.columns.items()}
    store = Memory()
    shops = {"shops": b"id,size\n1,2\n"}
    model_id = write_bundle(store, "shops", Contents(FEATURES, untrained(DATA, seed, width=4), shops, check, {}, {}))
    return model_id, store.objects


OURS, FILES = bundle(1)
THEIRS, OTHERS = bundle(2)
PREFIX, OTHER_PREFIX = Models("shops").bundle_prefix(OURS), Models("shops").bundle_prefix(THEIRS)
NAMES = sorted(key.removeprefix(PREFIX) for key in FILES)


def serve(objects: Objects) -> None:
    """What the speed service does with the ledger's line before it serves a model."""
    entry = Entry(1, "2020-01-01T00:00:00.000Z", "promoted", OURS, None, "test", "because", "run")
    load_champion(Memory(objects), SHOPS, entry)


def flip_a_bit(data: bytes, name: str, chance: random.Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def cut_short(data: bytes, name: str, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def grow(data: bytes, name: str, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randint(1, 64))


def overwrite(data: bytes, name: str, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    found = data[:start] + chance.randbytes(min(64, len(data) - start)) + data[start + 64 :]
    return found if found != data else data[::-1] + b"x"


def mix_up(data: bytes, name: str, chance: random.Random) -> bytes:
    return FILES[PREFIX + chance.choice([other for other in NAMES if FILES[PREFIX + other] != data])]


def exchange(data: bytes, name: str, chance: random.Random) -> bytes:
    """A foreign file in place of our own; where both are alike, a foreign byte."""
    foreign = OTHERS[OTHER_PREFIX + name]
    return foreign if foreign != data else grow(data, name, chance)


BYTES: dict[str, Callable[[bytes, str, random.Random], bytes]] = {
    "bit flipped": flip_a_bit,
    "cut short": cut_short,
    "grown": grow,
    "overwritten": overwrite,
    "mixed up": mix_up,
    "exchanged": exchange,
}


def mutated(chance: random.Random) -> tuple[str, Objects]:
    """A kind of damage, and the objects after it."""
    objects, name = dict(FILES), chance.choice(NAMES)
    kind = chance.choice([*BYTES, "lost", "all foreign", "manifest rewritten"])
    if kind == "lost":
        del objects[PREFIX + name]
    elif kind == "all foreign":
        foreign = {key.replace(OTHER_PREFIX, PREFIX): data for key, data in OTHERS.items()}
        objects = {key: data for key, data in foreign.items() if key != PREFIX + name} | {
            PREFIX + name: foreign[PREFIX + name]
        }
    elif kind == "manifest rewritten":
        # Somebody damages a file and makes the manifest agree with it: then the id does not.
        name = chance.choice([other for other in NAMES if other != "manifest.json"])
        data = flip_a_bit(objects[PREFIX + name], name, chance)
        manifest = json.loads(objects[PREFIX + "manifest.json"])
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        objects |= {PREFIX + name: data, PREFIX + "manifest.json": canonical(manifest)}
    else:
        objects[PREFIX + name] = BYTES[kind](objects[PREFIX + name], name, chance)
    return kind, objects


def test_the_untouched_bundle_is_served() -> None:
    serve(FILES)


def test_no_damaged_bundle_is_served() -> None:
    chance, kinds = random.Random(SEED), Counter[str]()
    for number in range(MUTATIONS):
        kind, objects = mutated(chance)
        assert objects != FILES, f"mutation {number} ({kind}) has changed nothing"
        kinds[kind] += 1
        try:
            serve(objects)
        except (BundleRejected, ObjectMissing):
            continue
        pytest.fail(f"mutation {number} of seed {SEED} ({kind}) was served")
    assert kinds.total() >= 1000 and len(kinds) == 9 and min(kinds.values()) > 50
