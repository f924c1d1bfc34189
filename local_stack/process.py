"""Run a short program to its end, its output in a log; a failure is one line that names the log.

Knows nothing about the servers that use it to initialise themselves.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_stack.faults import StackError


def run_step(what: str, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
    """Run the command; raise with the log's last words when it fails."""
    merged = {**os.environ, **(env or {})}
    with log.open("a") as sink:
        done = subprocess.run(list(command), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=merged)
    if done.returncode != 0:
        raise StackError(f"{what} failed ({last_words(log)})", f"see {log}")


def last_words(log: Path, limit: int = 200) -> str:
    """The last line of a log that says something."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-60:]]
    except OSError:
        return "no log"
    said = [line for line in lines if line]
    return said[-1][:limit] if said else "it said nothing"
