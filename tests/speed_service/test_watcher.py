"""Promotions as they arrive: loaded, refused, repeated, and swapped in under load."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from include.bundle.store import DirectoryStore
from include.ledger import Entry
from include.locations import Models
from include.target import COUNT
from include.use_case import UseCase
from speed_service.app import service_of
from speed_service.champion import load_champion
from speed_service.history import History, Published
from speed_service.service import Service
from speed_service.watcher import ModelWatcher, TilesWatcher
from tests.speed_service.conftest import World, make_bundle, promote, subject


class Away(DirectoryStore):
    """A store that is not there for the first few calls."""

    failures = 0

    def keys(self, prefix: str) -> list[str]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("refused")
        return super().keys(prefix)


@pytest.fixture
def sent(empty_world: World) -> list[dict[str, Any]]:
    """What the service sends on Kafka, decoded."""
    messages: list[dict[str, Any]] = []
    service_of(empty_world.app).telemetry.send = lambda _topic, _key, value: messages.append(msgspec.json.decode(value))
    return messages


@pytest.fixture
def service(empty_world: World, sent: list[dict[str, Any]], history: History) -> Service:
    service = service_of(empty_world.app)
    service.swap_history(history)
    service.stream_read()
    return service


@pytest.fixture
def watcher(service: Service, empty_world: World) -> Iterator[ModelWatcher]:
    stop = threading.Event()
    yield ModelWatcher(service, empty_world.store, stop)
    stop.set()


def broadcast(entry: Entry) -> bytes:
    message = {"event": entry.event, "use_case": "flight_delay", "model_id": entry.model_id, "bundle": "s3://models/x"}
    return msgspec.json.encode(
        {**message, "sequence": entry.sequence, "metrics": {}, "run_id": entry.run_id, "time": entry.time}
    )


def test_starts_with_the_champion_of_the_ledger(watcher: ModelWatcher, empty_world: World, use_case: UseCase) -> None:
    model_id = make_bundle(empty_world.store, use_case, 1)
    promote(empty_world.store, use_case, model_id, 1)
    watcher.start_from_ledger()
    assert empty_world.client.get("/readyz").json == {"status": "ready", "model_id": model_id}


def test_becomes_ready_when_a_first_model_is_promoted(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    watcher.start_from_ledger()
    assert "no model has been promoted" in empty_world.client.get("/readyz").json["detail"]
    entry = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 1), 1)
    watcher.on_broadcast(broadcast(entry))
    assert empty_world.client.get("/readyz").status_code == 200
    assert [m["kind"] for m in sent] == ["model_loaded"]
    assert {"model_id": entry.model_id, "sequence": 1, "run_id": "run-1", "instance": "test"}.items() <= sent[0].items()


def test_the_same_broadcast_again_gets_the_same_receipt(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    entry = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 1), 1)
    watcher.start_from_ledger()
    loaded = watcher._service.champion
    watcher.on_broadcast(broadcast(entry))
    watcher.on_broadcast(broadcast(entry))
    assert watcher._service.champion is loaded
    assert len(sent) == 2 and sent[0]["metric_id"] == sent[1]["metric_id"]


def test_an_older_broadcast_changes_nothing(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    first = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 1), 1)
    second = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 2), 2)
    watcher.start_from_ledger()
    watcher.on_broadcast(broadcast(first))
    assert watcher._service.champion is not None and watcher._service.champion.model_id == second.model_id
    assert sent == []


def test_a_broadcast_alone_promotes_nothing(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    first = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 1), 1)
    watcher.start_from_ledger()
    forged = replace(first, sequence=2, model_id=make_bundle(empty_world.store, use_case, 2))
    watcher.on_broadcast(broadcast(forged))
    assert watcher._service.champion is not None and watcher._service.champion.model_id == first.model_id
    assert [m["kind"] for m in sent] == ["model_rejected"]
    assert "ledger" in sent[0]["reason"]


def damage(store: DirectoryStore, use_case: UseCase, model_id: str) -> None:
    path = Path(store.root, Models(use_case.name).bundle_prefix(model_id), "weights.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def test_a_damaged_bundle_keeps_the_old_one_and_says_why(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    old = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 1), 1)
    watcher.start_from_ledger()
    new = promote(empty_world.store, use_case, make_bundle(empty_world.store, use_case, 2), 2)
    damage(empty_world.store, use_case, new.model_id)
    watcher.on_broadcast(broadcast(new))
    assert empty_world.predict(subject()).json["model_id"] == old.model_id
    assert "differs from its manifest" in sent[0]["reason"]
    assert (sent[0]["kind"], sent[0]["run_id"]) == ("model_rejected", "run-2")
    assert new.model_id in empty_world.client.get("/v1/flight_delay/model").json["last_rejection"]


def test_a_model_of_another_kind_of_target_is_rejected(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    counts = make_bundle(empty_world.store, replace(use_case, target=COUNT), 1)
    promote(empty_world.store, use_case, counts, 1)
    watcher.start_from_ledger()
    assert [m["kind"] for m in sent] == ["model_rejected"]
    assert "answers a value, not a probability" in sent[0]["reason"]


def test_a_bundle_that_is_not_there_is_rejected(
    watcher: ModelWatcher, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    promote(empty_world.store, use_case, "0" * 64, 1)
    watcher.start_from_ledger()
    assert [m["kind"] for m in sent] == ["model_rejected"]
    assert "rejected" in empty_world.client.get("/readyz").json["detail"]


def test_tries_again_while_storage_is_away(
    service: Service, empty_world: World, use_case: UseCase, sent: list[dict[str, Any]]
) -> None:
    store = Away(empty_world.store.root)
    entry = promote(store, use_case, make_bundle(store, use_case, 1), 1)
    store.failures = 2
    ModelWatcher(service, store, threading.Event()).start_from_ledger()
    assert service.champion is not None and service.champion.model_id == entry.model_id
    assert sent == []


def test_no_request_fails_or_mixes_models_during_swaps(
    world: World, bundles: tuple[DirectoryStore, list[str]], use_case: UseCase, history: History
) -> None:
    store, model_ids = bundles
    entries = [Entry(n, "t", "promoted", m, None, "test", "test", "run") for n, m in enumerate(model_ids, 2)]
    champions = [load_champion(store, use_case, entry) for entry in entries]
    service, done = service_of(world.app), threading.Event()
    expected = {}
    for champion in champions:
        service.swap_champion(champion)
        expected[champion.model_id] = world.predict(subject()).json["predictions"][0]["probability"]

    def client() -> list[tuple[int, str, float]]:
        seen = []
        while not done.is_set():
            response = world.app.test_client().post(
                "/v1/flight_delay/predict",
                json={"subjects": [subject()]},
                headers={"Authorization": f"Bearer {service.config.token}"},
            )
            seen.append(
                (response.status_code, response.json["model_id"], response.json["predictions"][0]["probability"])
            )
        return seen

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        for n in range(300):
            service.swap_champion(champions[n % 3])
            service.swap_history(replace(history, published=replace(history.published, version=n)))
        done.set()
        seen = [answer for running in clients for answer in running.result()]
    assert {status for status, _, _ in seen} == {200}
    assert all(probability == expected[model_id] for _, model_id, probability in seen)


class Table:
    """A tiles table in memory that counts how often it is read whole."""

    def __init__(self, published: Published) -> None:
        self.published: Published | None = published
        self.reads = 0

    def version(self) -> int | None:
        return None if self.published is None else self.published.version

    def read(self) -> Published:
        self.reads += 1
        assert self.published is not None
        return self.published


def test_tiles_are_read_again_only_when_their_version_changed(empty_world: World, history: History) -> None:
    service, table = service_of(empty_world.app), Table(history.published)
    watcher = TilesWatcher(service, table, threading.Event())  # type: ignore[arg-type]
    watcher.refresh()
    watcher.refresh()
    assert (table.reads, service.history.version) == (1, history.version)
    table.published = replace(history.published, version=8)
    watcher.refresh()
    assert (table.reads, service.history.version) == (2, 8)


def test_no_tiles_yet_is_told(empty_world: World, history: History) -> None:
    service, table = service_of(empty_world.app), Table(history.published)
    table.published = None
    TilesWatcher(service, table, threading.Event()).refresh()  # type: ignore[arg-type]
    assert "no tiles have been published" in service.tiles_reason


def test_a_service_is_ready_when_model_and_tiles_are_there_and_what_was_streamed_is_read(world: World) -> None:
    service = service_of(world.app)
    assert service.not_ready() == ()
    service.stream_reason = "the tiles topic has not been read yet"
    assert world.client.get("/readyz").status_code == 503
    service.stream_read()
    assert world.client.get("/readyz").status_code == 200
