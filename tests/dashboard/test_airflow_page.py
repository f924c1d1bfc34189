"""The page *Models and books* in Airflow's own UI: seen in a real browser, and its buttons open the right form."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.dashboard.conftest import LIMIT, SIZE

pytestmark = pytest.mark.dashboard


@pytest.fixture(scope="module")
def airflow(browser: Browser) -> Iterator[BrowserContext]:
    """Signed in to Airflow."""
    context = browser.new_context(base_url=os.environ["AIRFLOW_URL"], viewport=SIZE)  # type: ignore[arg-type]
    context.set_default_timeout(LIMIT)
    page = context.new_page()
    page.goto("/auth/login")
    page.fill("input[name=username]", os.environ["AIRFLOW_USER"])
    page.fill("input[name=password]", os.environ["AIRFLOW_PASSWORD"])
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/auth/login" not in url)
    page.close()
    yield context
    context.close()


def test_the_page_shows_the_champion_within_airflow(airflow: BrowserContext, artefacts: Path) -> None:
    page = airflow.new_page()
    page.goto("/plugin/models-and-books")
    frame = page.frame_locator("iframe[title='Models and books']")
    expect(frame.get_by_role("heading", name="Champion")).to_be_visible()
    expect(frame.locator("#champion tbody tr").first).to_contain_text("promoted")
    expect(frame.locator("#books")).to_contain_text("All balance.")
    page.screenshot(path=artefacts / "models-and-books.png")
    page.close()


@pytest.mark.parametrize(("button", "field"), [("Roll back", "Reason"), ("Retract or restore a day", "Dry run")])
def test_a_button_opens_the_form_of_its_dag(airflow: BrowserContext, button: str, field: str) -> None:
    page = airflow.new_page()
    page.goto("/plugin/models-and-books")
    page.frame_locator("iframe[title='Models and books']").get_by_role("link", name=button).click()
    form = page.get_by_role("dialog")
    expect(form).to_be_visible()
    expect(form).to_contain_text(field)
    page.close()


def test_a_form_is_sent_with_its_optional_field_empty(airflow: BrowserContext) -> None:
    """Airflow's button stays grey while a field is empty that it takes for required."""
    page = airflow.new_page()
    page.goto("/plugin/models-and-books")
    page.frame_locator("iframe[title='Models and books']").get_by_role("link", name="Retract or restore a day").click()
    form = page.get_by_role("dialog")
    button = form.get_by_test_id("trigger-dag-submit")
    expect(button).to_be_disabled()
    form.locator("[name=element_ds]").fill("2013-01-07")
    form.locator("[name=element_reason]").fill("a dry run")
    form.locator("[name=element_source]").first.click(force=True)
    page.get_by_role("option", name="weather").first.click()
    expect(form.locator("[name=element_file]")).to_have_value("")
    expect(button).to_be_enabled()
    page.close()
