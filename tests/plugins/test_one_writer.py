"""Two requests that write into SQLite at once: without turns the server stands still and one fails, in turn none."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from lambda_dl.one_writer import OneWriter, middlewares

PATIENCE_S = 0.5


class World:
    """Airflow's two ways to write: a session around a handler in a thread, and a note on the event loop itself."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.opened, self.noting = threading.Event(), threading.Event()
        with self.connect() as connection:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("CREATE TABLE written (what TEXT)")
        self.app = FastAPI()
        self.app.post("/thread")(self._thread())
        self.app.post("/loop")(self.loop)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.database, timeout=PATIENCE_S, check_same_thread=False)

    def _thread(self) -> Any:
        def session() -> Iterator[sqlite3.Connection]:
            with self.connect() as connection:  # committed when the handler is done
                yield connection

        def handler(connection: Annotated[sqlite3.Connection, Depends(session)]) -> None:
            connection.execute("INSERT INTO written VALUES ('thread')")
            self.opened.set()
            self.noting.wait(PATIENCE_S)

        return handler

    async def loop(self) -> None:
        self.noting.set()
        with self.connect() as connection:
            connection.execute("INSERT INTO written VALUES ('loop')")

    async def both(self, app: Any) -> list[int]:
        transport: Any = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=30) as client:
            first = asyncio.create_task(client.post("/thread"))
            await asyncio.to_thread(self.opened.wait, 10)
            second = await client.post("/loop")
            return [(await first).status_code, second.status_code]

    def written(self) -> set[str]:
        with self.connect() as connection:
            return {what for (what,) in connection.execute("SELECT what FROM written")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "metadata.db")


def test_without_turns_one_of_two_writers_fails(world: World) -> None:
    """What Airflow does where nothing takes turns; once this fails, the middleware has become needless."""
    assert asyncio.run(world.both(world.app)) == [200, 500]


def test_in_turn_both_write(world: World) -> None:
    assert asyncio.run(world.both(OneWriter(world.app))) == [200, 200]
    assert world.written() == {"thread", "loop"}


def test_who_only_reads_waits_for_nobody() -> None:
    going_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (going_on.wait() if scope["method"] == "POST" else asyncio.sleep(0))

    async def visit() -> None:
        turns = OneWriter(app)
        writer = asyncio.create_task(turns({"type": "http", "method": "POST"}, None, None))
        await asyncio.sleep(0)
        for scope in ({"type": "http", "method": "GET"}, {"type": "lifespan", "method": ""}):
            await asyncio.wait_for(turns(scope, None, None), 10)
        assert not writer.done()
        going_on.set()
        await writer

    asyncio.run(visit())


def test_databases_with_locks_on_rows_need_no_turns() -> None:
    assert [one["middleware"] for one in middlewares("sqlite:////x/airflow.db?timeout=60")] == [OneWriter]
    assert middlewares("postgresql+psycopg2://airflow@db/airflow") == []
