"""Where SQLite is Airflow's metadata database, the API server takes requests that write in turn.

SQLite lets one transaction write at a time. Airflow notes a person's action on the event loop itself; if another
request's transaction is open at that moment, its end waits for this loop and the loop for its end, and the whole
server stands still, heartbeats of running tasks too, until SQLite's patience is over (seen as 500 after a minute).
Databases with locks on rows need no turns. It knows HTTP's verbs, not what is written.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class OneWriter:
    """ASGI middleware: a request that may write begins when the one before has ended, its transaction included."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] not in WRITING:
            await self._app(scope, receive, send)
            return
        async with self._turn:
            await self._app(scope, receive, send)


def middlewares(database: str) -> list[Mapping[str, Any]]:
    """What the API server puts around its application, given the address of the metadata database."""
    needed = database.startswith("sqlite")
    return [{"middleware": OneWriter, "args": [], "kwargs": {}, "name": "one-writer"}] if needed else []
