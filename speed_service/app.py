"""Puts the service together: one function per part, none of which opens a connection.

``create_app`` is enough for tests; ``start_background`` adds the threads that follow S3 and Kafka.
"""

import torch
from flask import Flask

from include.bundle.store import S3Store
from include.locations import MODELS_BUCKET, Lake, Topics
from include.settings import SettingError
from include.use_case import load_use_case
from speed_service.background import Background
from speed_service.config import ServiceConfig
from speed_service.history import History, TilesTable
from speed_service.problems import init_problems
from speed_service.routes import blueprint
from speed_service.service import Service
from speed_service.telemetry import Telemetry


def create_app(config: ServiceConfig) -> Flask:
    """The WSGI app of one use case, not ready until a champion and tiles are swapped in."""
    app = Flask("speed_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    init_torch()
    init_service(app, config)
    init_problems(app)
    app.register_blueprint(blueprint)
    return app


def init_torch() -> None:
    """One thread per prediction: a row is too small to share, and requests run beside each other."""
    torch.set_num_threads(1)


def init_service(app: Flask, config: ServiceConfig) -> None:
    """Attach the state that requests read; ``SettingError`` on no use case, or windows that reach beyond the tiles."""
    try:
        use_case = load_use_case(config.use_case)
    except ValueError as error:
        raise SettingError(f"setting LAMBDA_DL_USE_CASE: {error}") from error
    if config.tile_days <= use_case.history_days:
        raise SettingError(
            f"setting LAMBDA_DL_TILE_DAYS is {config.tile_days}, but the windows of {use_case.name} reach "
            f"{use_case.history_days} days back: set at least {use_case.history_days + 1}"
        )
    telemetry = Telemetry(use_case.name, config.instance, Topics(use_case.name).metrics)
    app.extensions["speed_service"] = Service(config, use_case, telemetry, History.empty(use_case))


def service_of(app: Flask) -> Service:
    """The state of an app."""
    service = app.extensions["speed_service"]
    assert isinstance(service, Service)
    return service


def start_background(app: Flask) -> None:
    """Follow the ledger, the broadcasts, the tiles and the queries in threads, until ``service.stop_background``."""
    service = service_of(app)
    config = service.config
    path = Lake(service.use_case.name).path("tiles", "s3")
    table = TilesTable(path, config.s3.delta_options(), service.use_case.tiles, config.tile_days)
    background = Background(service, S3Store(config.s3, MODELS_BUCKET), table)
    background.start()
    service.stop_background = background.end
