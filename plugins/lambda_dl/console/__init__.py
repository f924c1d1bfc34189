"""The page *Models and books* in Airflow's UI: an application that the API server mounts, and the link to it.

It is made when the first request comes: every Airflow process loads the plugins, one of them serves pages.
"""

from collections.abc import Mapping
from functools import cached_property
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

    @cached_property
    def _application(self) -> Any:
        from lambda_dl.console.application import make_application

        return make_application()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        await self._application(scope, receive, send)
