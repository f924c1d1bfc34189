"""A stack in a temporary state folder for unit tests, and the running one for integration tests."""

from pathlib import Path

import pytest

from local_stack.layout import REPO_ROOT, Layout, layout_from
from local_stack.ports import Ports
from local_stack.secret_store import load_or_create
from local_stack.stack import Stack, open_stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that was never started."""
    layout = Layout(REPO_ROOT, tmp_path / "state")
    layout.make_folders()
    return Stack(layout, Ports(21000), load_or_create(layout.secrets_file))


@pytest.fixture(scope="session")
def running() -> Stack:
    """The stack that `make test` started (or the user's own)."""
    return open_stack(layout_from())
