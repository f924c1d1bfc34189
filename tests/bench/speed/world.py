"""Our service with the benchmark's model and tiles behind it: no S3, no Kafka, no threads that follow them.

``python -m speed_service --app tests.bench.speed.world:app``. Whoever writes a model id into the named pipe
``swap.pipe`` of the material has that bundle loaded, warmed and swapped in, in a thread, as a promotion would.
"""

import gc
import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet
from flask import Flask

from include.bundle.store import DirectoryStore
from include.settings import KafkaSettings, S3Settings
from include.tiles.kernel import TileIndex
from include.use_case import UseCase
from speed_service.app import create_app, service_of
from speed_service.champion import load_champion
from speed_service.config import ServiceConfig
from speed_service.front import Front
from speed_service.history import History, Published
from speed_service.service import Service
from speed_service.watcher import warm
from tests.bench.speed.material import FIRST_DAY, LAST_DAY, promotion

USE_CASE = "flight_delay"


def make_world(folder: Path) -> Flask:
    """A ready service, and a thread that waits for swaps."""
    nowhere = S3Settings("http://127.0.0.1:9", "none", "none", "us-east-1")
    app = create_app(
        ServiceConfig(USE_CASE, os.environ["PREDICTOR_TOKEN"], nowhere, KafkaSettings("127.0.0.1:9"), "bench")
    )
    service, store = service_of(app), DirectoryStore(folder / "models")
    service.swap_champion(load_champion(store, service.use_case, promotion(1, model_ids(folder)[0])))
    service.swap_history(make_history(service.use_case, folder))
    threading.Thread(target=swap_when_told, args=(service, store, folder), daemon=True).start()
    return app


def make_history(use_case: UseCase, folder: Path) -> History:
    """The tiles as published days."""
    index = TileIndex.from_arrow(use_case.tiles, pyarrow.parquet.read_table(folder / "tiles.parquet"))
    days = frozenset(FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1))
    return History(use_case, Published(1, days, index), TileIndex.empty(use_case.tiles))


def model_ids(folder: Path) -> list[str]:
    """The bundles that there are."""
    found: list[str] = json.loads((folder / "models.json").read_text())
    return found


def swap_when_told(service: Service, store: DirectoryStore, folder: Path) -> None:
    """Load, warm and swap as often as somebody writes into the pipe; says when on the monotonic clock."""
    pipe, sequence = folder / "swap.pipe", 1
    if not pipe.is_fifo():
        os.mkfifo(pipe)
    while True:
        model_id = pipe.read_text().strip()
        started, sequence = time.monotonic(), sequence + 1
        champion = load_champion(store, service.use_case, promotion(sequence, model_id))
        warm(service, champion)
        service.swap_champion(champion)
        told = json.dumps({"model_id": model_id, "started": started, "swapped": time.monotonic()})
        (folder / "swapped.json.part").write_text(told)
        (folder / "swapped.json.part").replace(folder / "swapped.json")


_flask = make_world(Path(os.environ["BENCH_MATERIAL"]))
gc.collect()
gc.freeze()  # as the service does, see speed_service.entry
app = Front(_flask, service_of(_flask))
