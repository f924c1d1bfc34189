"""The page *Models and books* in Airflow's UI: an application that the API server mounts, and the link to it.

It is made when the first request comes: every Airflow process loads the plugins, one of them serves pages. What it
imports takes seconds, so a thread makes it: the API server's loop answers the heartbeats of running tasks meanwhile.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

PREFIX = "/lambda-dl"
#: The page under Airflow's own navigation; the address is shown in a frame.
VIEW: Mapping[str, str] = {
    "name": "Models and books",
    "href": f"{PREFIX}/",
    "destination": "nav",
    "url_route": "models-and-books",
}


class Console:
    """The ASGI application."""

    def __init__(self) -> None:
        self._application: Any = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        async with self._making:
            if self._application is None:
                self._application = await asyncio.to_thread(_make)
        await self._application(scope, receive, send)


def _make() -> Any:
    from lambda_dl.console.application import make_application

    return make_application()
