"""Runs the service under uvicorn: ``python -m speed_service --port 8000``. Settings come from the environment."""

import argparse
from collections.abc import Sequence

import uvicorn

from speed_service.protocol import READ_SECONDS, PredictProtocol

#: More connections are told to come again (503); each has a descriptor and a buffer.
MOST_CONNECTIONS = 2000
#: How long requests may take to end when the service is told to stop.
STOP_SECONDS = 10


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m speed_service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a model and tiles of its own")
    parser.add_argument("--app", default="speed_service.asgi:app", help="the application, as module:name")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    options = parse(argv)
    uvicorn.run(
        options.app,
        host=options.host,
        port=options.port,
        workers=options.workers,
        interface="asgi3",
        loop="uvloop",
        http=PredictProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=int(READ_SECONDS),
        timeout_graceful_shutdown=STOP_SECONDS,
    )


if __name__ == "__main__":
    main()
