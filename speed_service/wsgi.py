"""The WSGI entry: ``granian --interface wsgi --host 127.0.0.1 --port $PORT speed_service.wsgi:app``.

One worker process; its threads share the model and the tiles. Settings come from the environment (see ``config``).
"""

import logging
import sys

from flask import Flask

from include.settings import SettingError
from speed_service.config import ServiceConfig

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def build() -> Flask:
    """The app with its background threads; a setting at fault ends the process with one line."""
    try:
        config = ServiceConfig.from_environment()
        # Only now, since it takes seconds to import: a wrong setting should show at once.
        from speed_service.app import create_app, start_background

        app = create_app(config)
    except SettingError as error:
        sys.exit(f"speed_service cannot start: {error}")
    start_background(app)
    return app


app = build()
