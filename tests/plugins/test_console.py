"""The page in Airflow's UI: closed to strangers, shut against foreign content, honest about a store that is away."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from include.ledger import append
from include.refusals import keep
from lambda_dl.cases import Case
from lambda_dl.console import PREFIX, Console
from lambda_dl.console import application as console
from tests.test_overview import LINE, REFUSAL, SHOPS, World, file_of, line, rejected


def client(*, signed_in: bool) -> TestClient:
    """The application as Airflow has it: mounted into another one."""
    app = console.make_application()
    around = FastAPI()
    around.mount(PREFIX, app)
    if signed_in:
        for route in app.routes:
            for needed in getattr(route, "dependencies", ()):
                app.dependency_overrides[needed.dependency] = lambda: None
    return TestClient(around, base_url=f"http://testserver{PREFIX}/")


def test_the_server_answers_others_while_the_pages_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, made = threading.Event(), []

    def make() -> FastAPI:
        assert go_on.wait(10), "the loop stood still"
        made.append(FastAPI())
        return made[-1]

    async def visit() -> list[int]:
        transport: Any = httpx.ASGITransport(app=Console())
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as visitor:
            first = [asyncio.create_task(visitor.get("/")) for _ in range(2)]
            await asyncio.sleep(0)
            go_on.set()
            return [answer.status_code for answer in await asyncio.gather(*first)]

    monkeypatch.setattr("lambda_dl.console._make", make)
    assert asyncio.run(visit()) == [404, 404]
    assert len(made) == 1


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A lake in a folder in S3's place."""
    made = World(tmp_path)
    monkeypatch.setattr(
        console, "read_environment", lambda _: {"S3_ENDPOINT": "x", "S3_ACCESS_KEY": "x", "S3_SECRET_KEY": "x"}
    )
    monkeypatch.setattr(console, "S3Store", lambda *_: made.models)
    monkeypatch.setattr(console.Tables, "on_s3", lambda *_: made.tables)
    monkeypatch.setattr(console, "load_use_case", lambda _: SHOPS)
    return made


@pytest.mark.parametrize("path", ["", "lineage?prediction=x"])
def test_nobody_sees_a_page_without_signing_in(path: str) -> None:
    assert client(signed_in=False).get(path).status_code == 401


def test_it_loads_nothing_foreign(world: World) -> None:
    answer = client(signed_in=True).get("")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
    assert "http" not in answer.text, "no address of another server"
    for path in ("console.css", "console.js"):
        assert f'"static/{path}"' in answer.text, "relative to the page, wherever it is mounted"
    for path in ("console.css", "console.js", "form.js"):
        assert client(signed_in=False).get(f"static/{path}").status_code == 200


def test_what_was_decided_is_shown_as_text(world: World) -> None:
    append(world.models, "shops", LINE)
    keep(world.models, "shops", REFUSAL)
    world.write("book", [line("2020-01-01", "sales"), line("2020-01-01", "weather", closed=False)])
    world.write("quarantine_sales", [rejected("2020-01-02", 1, "<script>alert(1)</script>")])
    world.write("raw_sales", [rejected("2020-01-02", 2)])
    world.write("landing_files", [file_of("2020-01-02", 1)])
    page = client(signed_in=True).get("").text
    assert "m1" in page and "<li>worse</li>" in page and "2020-01-01 ingest weather: line 7 lost" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (1)" in page
    for dag in console.FORMS:
        assert f'data-form="{dag}" href="/dags/{dag}"' in page


def test_an_unknown_prediction_is_told(world: World) -> None:
    page = client(signed_in=True).get("lineage", params={"prediction": "<b>"}).text
    assert "no prediction &#39;&lt;b&gt;&#39; is logged" in page
    assert 'role="alert"' not in client(signed_in=True).get("lineage").text


def test_a_store_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"conn_type": "aws", "login": "k", "password": "s", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_LAMBDA_DL_S3", json.dumps(away))
    answer = client(signed_in=True).get("")
    assert answer.status_code == 503
    assert "http://127.0.0.1:9 does not answer" in answer.text


def test_each_use_case_has_pages_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "CASES", (console.FIRST, Case("fraud", "__fraud")))
    page = client(signed_in=True).get("", params={"use_case": "fraud"}).text
    assert "<h1>fraud</h1>" in page and 'data-form="train_model__fraud" href="/dags/train_model__fraud"' in page
    assert f'href="./?use_case={console.FIRST.name}"' in page and 'href="lineage?use_case=fraud"' in page
    assert 'href="./?use_case=fraud"' in client(signed_in=True).get("").text, "the first page leads there"
    traced = client(signed_in=True).get("lineage", params={"use_case": "fraud"}).text
    assert '<input type="hidden" name="use_case" value="fraud">' in traced
    assert client(signed_in=True).get("", params={"use_case": "nobody"}).status_code == 404
