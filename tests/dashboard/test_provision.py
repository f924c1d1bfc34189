"""What Superset shows follows the deployment: a use case that leaves takes its pages along, and brings them back."""

import os
import subprocess

import pytest
from playwright.sync_api import Page

from dashboard.pages import deployed_pages
from include.use_cases import USE_CASES, read_use_cases
from local_stack.environment import stack_env
from local_stack.layout import layout_from
from local_stack.servers.superset import ACCOUNTS, superset_env
from local_stack.stack import open_stack
from tests.dashboard.test_in_browser import listed

pytestmark = pytest.mark.dashboard


def provision(use_cases: str) -> None:
    """Set Superset's database up as a start with these use cases would."""
    stack = open_stack(layout_from())
    values = stack_env(stack)
    environment = {**superset_env(stack), **{name: values[name] for name in ACCOUNTS}, USE_CASES: use_cases}
    command = [str(stack.layout.superset_bin / "python"), "-m", "dashboard.provision"]
    done = subprocess.run(command, cwd=stack.layout.repo, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def names_of(page: Page) -> tuple[set[str], set[str], set[str]]:
    """Addresses of pages, names of charts and of data sets that the analyst sees."""
    things = (("dashboard", "slug"), ("chart", "slice_name"), ("dataset", "table_name"))
    dashboards, charts, datasets = ({one[field] for one in listed(page, what)} for what, field in things)
    return dashboards, charts, datasets


def test_a_use_case_that_leaves_takes_its_pages_along(page: Page) -> None:
    together, first = os.environ[USE_CASES], read_use_cases(os.environ)[0]
    before = names_of(page)
    try:
        provision(first)
        (alone,) = deployed_pages({USE_CASES: first})
        dashboards, charts, datasets = names_of(page)
        assert dashboards == {one.slug for one in alone.dashboards}
        assert charts == {chart.name for chart in alone.charts()}
        assert not [name for name in datasets if name.endswith(")")]
    finally:
        provision(together)
    assert names_of(page) == before
