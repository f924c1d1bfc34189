"""Builds the service of one worker process from the environment: for the ASGI and the WSGI entry alike.

A worker has its own model and tiles; its threads follow S3 and Kafka. Settings come from the environment (``config``).
"""

import gc
import logging
import sys

from flask import Flask

from include.settings import SettingError
from speed_service.config import ServiceConfig


def build() -> Flask:
    """The app with its background threads; a setting at fault ends the process with one line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = ServiceConfig.from_environment()
        # Only now, since it takes seconds to import: a wrong setting should show at once.
        from speed_service.app import create_app, start_background

        app = create_app(config)
    except SettingError as error:
        sys.exit(f"speed_service cannot start: {error}")
    # What was imported lives as long as the process: a full collection that looks at it all stops every request for
    # some 100 ms and finds nothing.
    gc.collect()
    gc.freeze()
    start_background(app)
    return app
