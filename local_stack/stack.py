"""What every server of one stack needs to know: paths, ports, secrets; and what a server is.

A `Server` is data and four functions (prepare, probe, settle, command); the modules in `servers/` make one each.
Knows no particular server and starts nothing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import include.use_cases
from include.use_cases import DEFAULT_USE_CASE, USE_CASES, read_use_cases
from local_stack.faults import StackError
from local_stack.layout import Layout
from local_stack.ports import Ports, choose_base
from local_stack.profiles import SINGLE, Profile, choose_profile
from local_stack.secret_store import load_or_create, write_private

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
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables of the deployment, which go before the stack's own."""
    profile: Profile = SINGLE
    use_cases: tuple[str, ...] = (DEFAULT_USE_CASE,)

    @property
    def first_use_case(self) -> str:
        """The one that has the plain names: of DAGs, of servers, and in ``stack.env``."""
        return self.use_cases[0]

    def server_of(self, kind: str, use_case: str) -> str:
        """The name of a use case's own server of a kind: ``predictor``, ``predictor-card_fraud``."""
        return kind if use_case == self.first_use_case else f"{kind}-{use_case}"

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
    use_cases = choose_use_cases(layout.state)
    ports = Ports(base, tuple(f"predictor-{name}" for name in use_cases[1:]))
    return Stack(layout, ports, load_or_create(layout.secrets_file), profile=profile, use_cases=use_cases)


def choose_use_cases(state: Path, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The use cases that are asked for, else those that the state folder remembers, else the one that is shipped."""
    memory = _memory(state)
    remembered = {USE_CASES: memory.read_text().strip()} if memory.is_file() else {}
    try:
        found = read_use_cases({USE_CASES: environment[USE_CASES]} if environment.get(USE_CASES) else remembered)
    except ValueError as error:
        raise StackError(str(error), "name each once") from error
    return found


def refuse_unknown_use_cases(stack: Stack) -> None:
    """Raise for a use case that has no package. A stack with one can still be stopped."""
    packages, memory = Path(include.use_cases.__file__).parent, _memory(stack.layout.state)
    for name in stack.use_cases:
        if not name.isidentifier() or not (packages / name / "__init__.py").is_file():
            raise StackError(
                f"{name!r}, which {USE_CASES} or {memory} names, is no package in include/use_cases",
                f"make it (make use-case), or name those that are to run: {USE_CASES}=...",
            )


def remember_use_cases(stack: Stack) -> None:
    """For every later start, stop and look at this stack."""
    write_private(_memory(stack.layout.state), ",".join(stack.use_cases) + "\n")


def _memory(state: Path) -> Path:
    return state / "use_cases"


def done_once(stamp: Path, key: str, action: Callable[[], None]) -> None:
    """Run the action unless the stamp says that it was done for this very key."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    action()
    stamp.write_text(digest)
