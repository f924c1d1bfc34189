"""The stack as a container sees it, with secrets of its own; nothing is started."""

from pathlib import Path

import pytest

from local_stack import secret_store
from local_stack.container import container_stack
from local_stack.layout import REPO_ROOT, Layout
from local_stack.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """With a value for every secret, as if one container had them all."""
    environment = {name.upper(): f"value-of-{name.replace('_', '-')}" for name in secret_store.ALL_NAMES}
    return container_stack(Layout(REPO_ROOT, tmp_path / "state"), environment)
