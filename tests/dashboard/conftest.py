"""A browser, signed in as an analyst, on the Superset of the running stack; screenshots are kept as artefacts."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from local_stack.layout import layout_from
from tests.dashboard.chromium import find_chromium

#: Root needs no sandbox of its own here: every page is the stack's own.
FLAGS = ("--headless=shell", "--no-sandbox", "--font-render-hinting=none", "--disable-dev-shm-usage")
SIZE = {"width": 1440, "height": 1000}
SECONDS = 1000.0
#: A chart of the archive on a busy machine with a cold Hive.
LIMIT = 300 * SECONDS


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept."""
    folder = layout_from().state / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; installed on first use."""
    program, libraries = find_chromium(layout_from().toolchain / "chromium")
    expect.set_options(timeout=LIMIT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), env={**os.environ, **libraries}, timeout=LIMIT
        )
        yield chromium
        chromium.close()


def signed_in(browser: Browser, user: str, password: str) -> BrowserContext:
    """A session of that account, through the sign-in page."""
    context = browser.new_context(base_url=os.environ["SUPERSET_URL"], viewport=SIZE)  # type: ignore[arg-type]
    context.set_default_timeout(LIMIT)
    page = context.new_page()
    page.goto("/login/")
    page.fill("#username", user)
    page.fill("#password", password)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"^(?!.*/login).*$"))
    page.close()
    return context


@pytest.fixture(scope="session")
def analyst(browser: Browser) -> Iterator[BrowserContext]:
    """Signed in as the analyst."""
    context = signed_in(browser, os.environ["SUPERSET_ANALYST_USER"], os.environ["SUPERSET_ANALYST_PASSWORD"])
    yield context
    context.close()


@pytest.fixture
def page(analyst: BrowserContext) -> Iterator[Page]:
    """A fresh page of the analyst."""
    opened = analyst.new_page()
    yield opened
    opened.close()
