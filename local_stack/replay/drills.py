"""Drills: a server killed in the middle of a replay, as a crash would; supervisord starts it again.

Knows servers by their names and nothing of what they do.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from local_stack.faults import StackError
from local_stack.replay.engine import Drill
from local_stack.stack import Stack
from local_stack.supervision import process_states

FORM = re.compile(r"(?P<server>[a-z0-9_-]+)@(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])")


@dataclass(frozen=True)
class Kill:
    """Kill ``server`` when simulated time first comes to ``after_midnight``."""

    server: str
    after_midnight: timedelta

    def first_after(self, begin: datetime) -> datetime:
        """The first moment from ``begin`` on with this time of day."""
        moment = begin.replace(hour=0, minute=0, second=0, microsecond=0) + self.after_midnight
        return moment if moment >= begin else moment + timedelta(days=1)


def parse_kill(text: str) -> Kill:
    """``stream@14:30``; raises ``ValueError`` for anything else."""
    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not of the form SERVER@HH:MM")
    return Kill(found["server"], timedelta(hours=int(found["hour"]), minutes=int(found["minute"])))


def drill_of(stack: Stack, kill: Kill, begin: datetime, report: Callable[[str], None]) -> Drill:
    """The drill of a replay that begins at ``begin``."""
    return Drill(kill.first_after(begin), lambda: kill_server(stack, kill.server, report))


def kill_server(stack: Stack, name: str, report: Callable[[str], None]) -> None:
    """End a server's whole process group with SIGKILL; raises ``StackError`` if it does not run."""
    state, pid = process_states(stack).get(name, ("unknown", 0))
    if state != "RUNNING" or pid <= 1:
        raise StackError(
            f"{name} cannot be killed, it is {state.lower()}", f"start it: python -m local_stack up {name}"
        )
    report(f"kill -9 {name} (process group {pid})")
    os.killpg(pid, signal.SIGKILL)
