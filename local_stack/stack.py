"""What every server of one stack needs to know: paths, ports, secrets; and what a server is.

A `Server` is data and four functions (prepare, probe, settle, command); the modules in `servers/` make one each.
Knows no particular server and starts nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local_stack.layout import Layout
from local_stack.ports import Ports, choose_base
from local_stack.profiles import SINGLE, Profile, choose_profile
from local_stack.secret_store import load_or_create

# A Unix socket's path holds 107 characters; Ray adds 80 (/data/ray/session_<moment>_<pid>/sockets/dash_TaskEventsHead).
LONGEST_SOCKET_FOLDER = 27


def nothing() -> None:
    """The step of a server that needs none."""


@dataclass(frozen=True)
class Stack:
    """One stack: where it lives, where it listens, its secrets, and of how many processes it consists."""

    layout: Layout
    ports: Ports
    secrets: Mapping[str, str] = field(repr=False)
    profile: Profile = SINGLE

    def short_state(self) -> Path:
        """The state folder by a path short enough for Unix sockets (a link in a private folder where needed)."""
        state = self.layout.state
        if len(str(state)) <= LONGEST_SOCKET_FOLDER:
            return state
        memory = self.layout.run / "short_path"
        known = Path(memory.read_text()) if memory.is_file() else None
        if known and known.is_symlink() and known.resolve() == state:
            return known
        link = Path(tempfile.mkdtemp(prefix="ldl-")) / "s"
        link.symlink_to(state)
        memory.write_text(str(link))
        return link


@dataclass(frozen=True)
class Server:
    """A server process, what it needs, and how to tell that it works."""

    name: str
    address: str
    command: tuple[str, ...]
    probe: Callable[[], None]
    """Raises while the server does not answer as it should."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    needs: tuple[str, ...] = ()
    port_names: tuple[str, ...] = ()
    prepare: Callable[[], None] = nothing
    """Everything on disk that must be there before it starts; cheap when it is."""
    settle: Callable[[], None] = nothing
    """Everything inside it that must be there before others use it; cheap when it is."""
    on_demand: bool = False
    pending: Callable[[], str] = lambda: ""
    """Why it cannot be expected to run yet; empty when it can."""
    start_limit_s: float = 400  # a busy machine starts a server twenty times slower than an idle one
    stop_limit_s: int = 30
    stop_as_group: bool = False


def open_stack(layout: Layout) -> Stack:
    """The stack of a state folder: created on first use."""
    layout.make_folders()
    base, profile = choose_base(layout.state / "port_base"), choose_profile(layout.state)
    return Stack(layout, Ports(base), load_or_create(layout.secrets_file), profile)


def done_once(stamp: Path, key: str, action: Callable[[], None]) -> None:
    """Run the action unless the stamp says that it was done for this very key."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    action()
    stamp.write_text(digest)
