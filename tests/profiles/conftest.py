"""The running stack of a profile, its servers killed and waited for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local_stack.control import all_servers, probe_fault
from local_stack.layout import layout_from
from local_stack.replay.drills import kill_server
from local_stack.stack import Stack, open_stack

PATIENCE_SECONDS = 900.0
POLL_SECONDS = 0.2


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What the condition says once it says something; a fault of it means not yet."""
    end, fault = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except Exception as error:  # clients fail in their own ways while a server is away
            fault = f" ({error})"
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"waited {seconds:.0f} s for {what}{fault}")


def stack_of(profile: str) -> Stack:
    stack = open_stack(layout_from())
    if stack.profile.name != profile:
        pytest.fail(f"this stack is of profile {stack.profile.name}: run make drills PROFILE={profile}")
    return stack


@contextmanager
def healed(stack: Stack) -> Iterator[Callable[[str], None]]:
    """A function that kills a server by its name; at the end all that were killed are well again."""
    killed: set[str] = set()

    def kill(name: str) -> None:
        kill_server(stack, name, print)
        killed.add(name)

    yield kill
    for server in all_servers(stack):
        if server.name in killed:
            until(lambda server=server: probe_fault(server) is None, f"{server.name} after its death")  # type: ignore[misc]
