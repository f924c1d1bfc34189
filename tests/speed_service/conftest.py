"""A real, tiny bundle in a folder, tiles in memory, and an app that serves them: no servers."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from flask import Flask
from flask.testing import FlaskClient

from include.bundle.bundle import Contents, Predictor, write_bundle
from include.bundle.store import DirectoryStore
from include.ledger import Entry, append
from include.settings import KafkaSettings, S3Settings
from include.tiles.kernel import TileIndex
from include.training.encoding import Encoders
from include.training.network import Network, NetworkConfig
from include.use_case import UseCase, load_use_case
from speed_service.app import create_app, service_of
from speed_service.champion import load_champion
from speed_service.config import ServiceConfig
from speed_service.history import TILE_ROWS, History, Published

TOKEN = "a-token-of-the-tests-alone"
FIRST_DAY = date(2013, 1, 10)
LAST_DAY = date(2013, 1, 20)
REFERENCE_ROWS = {
    "planes": [
        {"tailnum": "N1", "year": "1999", "seats": "55", "engines": "2", "manufacturer": "EMBRAER", "model": ""}
    ],
    "airports": [{"faa": "IAH", "lat": "29.98", "lon": "-95.34", "alt": "97"}],
}


def subject(**changes: Any) -> dict[str, Any]:
    """A good subject of the day that the tiles cover, with changes."""
    base = {
        "id": "UA-1545-EWR-20130120T1515Z",
        "carrier": "UA",
        "flight": 1545,
        "origin": "EWR",
        "dest": "IAH",
        "tailnum": "N1",
        "distance": 1400,
        "scheduled_departure": "2013-01-20T15:15:00Z",
    }
    return {**base, **changes}


def csv_bytes(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def random_rows(use_case: UseCase, n: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    numeric = {name: random.normal(size=n) for name in use_case.features.numeric}
    texts = {
        name: random.choice(np.array(["UA", "EWR", "IAH"], dtype=object), n) for name in use_case.features.categorical
    }
    return {**numeric, **texts}


def make_bundle(store: DirectoryStore, use_case: UseCase, seed: int) -> str:
    """Write an untrained network as a bundle; returns its id, another one for each seed."""
    torch.manual_seed(seed)
    rows = random_rows(use_case, 200, seed)
    encoders = Encoders.fit(use_case.features, rows, bins=4, minimum_count=1)
    network = Network(encoders, NetworkConfig(width=16, layers=1, embedding_width=4, category_width=4)).eval()
    contents = Contents(
        features=use_case.features,
        predictor=Predictor(network, encoders, 1.0, use_case.target),
        references={name: csv_bytes(table) for name, table in REFERENCE_ROWS.items()},
        self_check={name: values[:8] for name, values in rows.items()},
        metrics={"test": {"auc": 0.7}},
        lineage={"seed": seed},
    )
    return write_bundle(store, use_case.name, contents)


def promote(store: DirectoryStore, use_case: UseCase, model_id: str, sequence: int) -> Entry:
    time = "2013-01-21T02:00:00Z"
    return append(
        store, use_case.name, Entry(sequence, time, "promoted", model_id, None, "test", "test", f"run-{sequence}")
    )


def tile_row(tile: str, key: str, minute: datetime, values: list[int | None]) -> dict[str, Any]:
    return {"tile": tile, "key": key, "minute": minute, "values": values}


def tile_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TILE_ROWS)


def some_tiles() -> pa.Table:
    """A departure every ten minutes from EWR on the last day, and a few more kinds."""
    start = datetime(2013, 1, 20, tzinfo=UTC)
    minutes = [start + timedelta(minutes=10 * n) for n in range(144)]
    rows = [tile_row("departures_by_origin", "EWR", m, [1, 20, 1, 20]) for m in minutes]
    rows += [tile_row("departures_by_tailnum", "N1", m, [1, n]) for n, m in enumerate(minutes[::12])]
    rows += [tile_row("schedule_by_origin", "EWR", m, [2]) for m in minutes]
    return tile_table(rows)


def days_between(first: date, last: date) -> frozenset[date]:
    return frozenset(first + timedelta(days=n) for n in range((last - first).days + 1))


@dataclass
class World:
    """An app with a champion and tiles, and the store that its bundles lie in."""

    app: Flask
    client: FlaskClient
    store: DirectoryStore
    use_case: UseCase

    def predict(self, *subjects: Any, **arguments: Any) -> Any:
        headers = arguments.pop("headers", {"Authorization": f"Bearer {TOKEN}"})
        body = arguments.pop("json", {"subjects": list(subjects)})
        return self.client.post(f"/v1/{self.use_case.name}/predict", json=body, headers=headers, **arguments)


def make_config(**changes: Any) -> ServiceConfig:
    base: dict[str, Any] = {
        "use_case": "flight_delay",
        "token": TOKEN,
        "s3": S3Settings("http://127.0.0.1:9", "key", "secret", "us-east-1"),
        "kafka": KafkaSettings("127.0.0.1:9"),
        "instance": "test",
        "retry_seconds": 0.05,
    }
    return ServiceConfig(**{**base, **changes})


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    return load_use_case("flight_delay")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, use_case: UseCase) -> tuple[DirectoryStore, list[str]]:
    """A store with three bundles; nothing is promoted."""
    store = DirectoryStore(tmp_path_factory.mktemp("models"))
    return store, [make_bundle(store, use_case, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def history(use_case: UseCase) -> History:
    days = days_between(FIRST_DAY, LAST_DAY)
    published = Published(7, days, TileIndex.from_arrow(use_case.tiles, some_tiles()))
    return History(use_case, published, TileIndex.empty(use_case.tiles))


@pytest.fixture
def empty_world(tmp_path: Path, use_case: UseCase) -> World:
    """A service that has neither a champion nor tiles yet."""
    app = create_app(make_config())
    return World(app, app.test_client(), DirectoryStore(tmp_path), use_case)


@pytest.fixture
def world(empty_world: World, bundles: tuple[DirectoryStore, list[str]], history: History, use_case: UseCase) -> World:
    """A ready service."""
    store, model_ids = bundles
    service = service_of(empty_world.app)
    entry = Entry(1, "2013-01-21T02:00:00Z", "promoted", model_ids[0], None, "test", "test", "run-1")
    service.swap_champion(load_champion(store, use_case, entry))
    service.swap_history(history)
    service.stream_read()
    return World(empty_world.app, empty_world.client, store, use_case)


Predict = Callable[..., Any]
