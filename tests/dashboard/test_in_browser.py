"""As an analyst sees it: every chart of every use case drawn with data, SQL Lab on Hive, nothing to change.

Runs on a stack of two use cases that the demo has filled: ``make test-dashboard``.
"""

import os
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Locator, Page, Response, expect

from dashboard.pages import deployed_pages
from dashboard.specs import Chart, Dashboard, Tab

pytestmark = pytest.mark.dashboard

DASHBOARDS = [page for pages in deployed_pages(os.environ) for page in pages.dashboards]
EVERY_TAB = [(page, tab) for page in DASHBOARDS for tab in page.tabs]
#: The most that Superset lists at once.
LISTED_AT_ONCE = 100
CHARTS_API = "/api/v1/chart/data"
#: What a chart is drawn with: canvas (ECharts), a table, or a big number.
DRAWN = "canvas, table, .header-line, .superset-legacy-chart-big-number"
#: What stands in the place of a chart that failed, or has nothing to draw.
FAILED = "[role=alert], .ant-empty"
#: Counts pairs of pairs of flights: many minutes of work that a few cores cannot finish meanwhile.
ENDLESS = "SELECT COUNT(*) AS pairs FROM raw_departures a CROSS JOIN raw_departures b CROSS JOIN raw_arrivals c "
ENDLESS += "WHERE a.departure_delay + b.departure_delay < c.arrival_delay"


def tab_id(value: object) -> str:
    return value.slug if isinstance(value, Dashboard) else str(getattr(value, "title", value))


def charts_of(tab: Tab) -> list[Chart]:
    return [block for row in tab.rows for block in row if isinstance(block, Chart)]


class Answers:
    """What the charts of a page were answered, by Superset itself."""

    def __init__(self, page: Page) -> None:
        self.seen: list[Response] = []
        page.on("response", lambda answer: self.seen.append(answer) if CHARTS_API in answer.url else None)

    def faults(self) -> list[str]:
        """Answers that are errors."""
        return [f"{answer.status} {answer.url}: {answer.text()[:300]}" for answer in self.seen if answer.status != 200]


def open_tab(page: Page, dashboard: Dashboard, tab: Tab) -> None:
    """Open a page's tab and wait until it is there."""
    page.goto(f"/superset/dashboard/{dashboard.slug}/")
    expect(page.get_by_text(dashboard.title, exact=True).first).to_be_visible()
    if len(dashboard.tabs) > 1:
        page.get_by_role("tab", name=tab.title).click()


def holder(page: Page, chart: Chart) -> Locator:
    """The part of the page that holds a chart."""
    return page.locator(f'[data-test-chart-name="{chart.name}"]')


def wait_drawn(page: Page, chart: Chart) -> None:
    """Wait until the chart is drawn; fails with what stands in its place."""
    place = holder(page, chart)
    place.scroll_into_view_if_needed()
    expect(place.locator(f"{DRAWN}, {FAILED}").first).to_be_visible()
    expect(place.locator("[data-test=loading-indicator]")).to_have_count(0)
    text = f"{chart.name}: {place.inner_text()[:300]}"
    assert place.locator(FAILED).count() == 0, text
    assert "No results" not in text, text
    expect(place.locator(DRAWN).first).to_be_visible()


@pytest.mark.parametrize(("dashboard", "tab"), EVERY_TAB, ids=tab_id)
def test_every_chart_is_drawn_with_data(page: Page, artefacts: Path, dashboard: Dashboard, tab: Tab) -> None:
    answers = Answers(page)
    open_tab(page, dashboard, tab)
    for chart in charts_of(tab):
        wait_drawn(page, chart)
    page.set_viewport_size({"width": 1440, "height": height_of(tab)})
    page.mouse.move(5, 5)
    for chart in charts_of(tab):
        wait_drawn(page, chart)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(
        path=artefacts / f"{dashboard.slug}-{tab.title.lower().replace(' ', '-')}.png", animations="disabled"
    )
    assert answers.seen
    assert not answers.faults()


def height_of(tab: Tab) -> int:
    """A window that shows the whole tab: a unit of a chart's height is 8 pixels."""
    return 260 + sum(max(block.height for block in row) * 8 + 24 for row in tab.rows)


def query_id(answer: Response) -> int:
    return int(answer.json()["query"]["queryId"])


def run_on_hive(page: Page, statement: str) -> Response:
    """Put a statement into SQL Lab, on Hive, and press Run; returns the answer to that."""
    (hive,) = [d["id"] for d in listed(page, "database") if d["database_name"] == "Hive"]
    asked = {"dbid": hive, "schema": "flight_delay", "sql": statement, "title": "Test", "new": "true"}
    page.goto(f"/sqllab/?{urllib.parse.urlencode(asked)}")
    expect(page.locator(".ace_content").first).to_contain_text(statement.split()[0])
    with page.expect_response(lambda answer: "/api/v1/sqllab/execute" in answer.url) as running:
        page.locator("[data-test=run-query-action]").first.click()
    return running.value


def listed(page: Page, what: str) -> list[dict[str, Any]]:
    """Everything of a kind that Superset's API lists for this account."""
    found: list[dict[str, Any]] = []
    while True:
        part = len(found) // LISTED_AT_ONCE
        answer = page.request.get(f"/api/v1/{what}/?q=(page:{part},page_size:{LISTED_AT_ONCE})")
        assert answer.ok, answer.text()
        found += answer.json()["result"]
        if len(found) == answer.json()["count"]:
            return found


def test_superset_has_the_charts_of_the_definitions_and_no_other(page: Page) -> None:
    defined = {chart.name for dashboard in DASHBOARDS for chart in dashboard.charts()}
    assert {chart["slice_name"] for chart in listed(page, "chart")} == defined
    assert {one["slug"] for one in listed(page, "dashboard")} == {dashboard.slug for dashboard in DASHBOARDS}


def state_of(page: Page, query: int) -> str:
    answer = page.request.get(f"/api/v1/query/{query}")
    assert answer.ok, answer.text()
    return str(answer.json()["result"]["status"])


def wait_state(page: Page, query: int, wanted: str) -> None:
    """Wait until the query has come to that state."""
    for _ in range(120):
        if state_of(page, query) == wanted:
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"query {query} is {state_of(page, query)}, not {wanted}")


def test_a_query_on_hive_runs_in_the_background_and_shows_its_result(page: Page, artefacts: Path) -> None:
    answer = run_on_hive(page, "SELECT origin, COUNT(*) AS flights FROM raw_departures GROUP BY origin ORDER BY origin")
    assert answer.status == 202, "the query ran in the web server, not in the worker"
    results = page.get_by_role("tabpanel", name="Results")
    for airport in ("EWR", "JFK", "LGA"):
        expect(results.get_by_text(airport, exact=True)).to_be_visible()
    page.mouse.move(5, 5)
    page.screenshot(path=artefacts / "sql-lab.png")
    # The result is kept: another page reads it without asking Hive again.
    query = page.request.get(f"/api/v1/query/{query_id(answer)}").json()["result"]
    again = page.request.get(f"/api/v1/sqllab/results/?q=(key:'{query['results_key']}')")
    assert [row["origin"] for row in again.json()["data"]] == ["EWR", "JFK", "LGA"]


def test_a_running_query_on_hive_can_be_cancelled(page: Page, artefacts: Path) -> None:
    query = query_id(run_on_hive(page, ENDLESS))
    wait_state(page, query, "running")
    page.screenshot(path=artefacts / "sql-lab-running.png")
    page.get_by_role("button", name="Stop").first.click()
    wait_state(page, query, "stopped")
    # The worker is free again, and so is Hive.
    after = run_on_hive(page, "SELECT COUNT(*) AS books FROM book")
    wait_state(page, query_id(after), "success")


def changed(context: BrowserContext, method: str, path: str, body: dict[str, Any]) -> APIResponse:
    """Try to change something through the API, with the token that the pages use."""
    token = context.request.get("/api/v1/security/csrf_token/").json()["result"]
    headers = {"X-CSRFToken": token, "Referer": os.environ["SUPERSET_URL"]}
    return context.request.fetch(path, method=method, headers=headers, data=body)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/v1/dashboard/1", {"dashboard_title": "Mine"}),
        ("DELETE", "/api/v1/dashboard/1", {}),
        ("PUT", "/api/v1/chart/1", {"slice_name": "Mine"}),
        ("POST", "/api/v1/chart/", {"slice_name": "Mine", "datasource_id": 1, "datasource_type": "table"}),
        ("PUT", "/api/v1/dataset/1", {"sql": "SELECT 1"}),
        ("PUT", "/api/v1/database/1", {"database_name": "Mine"}),
        ("POST", "/api/v1/dashboard/", {"dashboard_title": "Mine"}),
        ("GET", "/api/v1/security/users/", {}),
    ],
)
def test_an_analyst_changes_nothing(analyst: BrowserContext, method: str, path: str, body: dict[str, Any]) -> None:
    answer = changed(analyst, method, path, body)
    assert answer.status in (403, 404), answer.text()


@pytest.mark.parametrize("store", ["MySQL", "Hive"])
def test_sql_lab_refuses_to_write(analyst: BrowserContext, store: str) -> None:
    page = analyst.new_page()
    (database,) = [d["id"] for d in listed(page, "database") if d["database_name"] == store]
    table = "refresh_log" if store == "MySQL" else "book"
    for statement in (f"DROP TABLE {table}", f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {table}"):
        body = {"database_id": database, "schema": "flight_delay", "sql": statement, "runAsync": False}
        body |= {"client_id": f"w{store}{statement[:4]}", "catalog": None}
        answer = changed(analyst, "POST", "/api/v1/sqllab/execute/", body)
        assert answer.status >= 400, f"{statement}: {answer.text()[:300]}"
    page.close()
