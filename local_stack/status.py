"""The table of `make status`: each server with its state, memory and what a live probe says.

Only looks; changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from local_stack import supervision
from local_stack.control import all_servers, probe_fault
from local_stack.stack import Server, Stack

HEADINGS = ("server", "state", "pid", "memory", "health", "address")


@dataclass(frozen=True)
class Row:
    """One server as it is now."""

    name: str
    address: str
    state: str
    pid: int
    memory_mib: int
    health: str

    @property
    def is_broken(self) -> bool:
        """Meant to run, and does not answer as it should."""
        return self.state not in ("down", "stopped") and self.health not in ("ok", "pending")


def tree_memory_mib(pid: int) -> int:
    """Resident memory of a process and all that it started."""
    import psutil

    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_resident(process) for process in family) // 2**20


def _resident(process: object) -> int:
    import psutil

    try:
        return int(process.memory_info().rss) if isinstance(process, psutil.Process) else 0
    except psutil.Error:
        return 0


def rows(stack: Stack) -> list[Row]:
    """Every server, probed at the same time."""
    states = supervision.process_states(stack)
    servers = all_servers(stack)
    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        return list(pool.map(lambda server: _row(server, *states.get(server.name, ("DOWN", 0))), servers))


def _row(server: Server, state: str, pid: int) -> Row:
    if state in ("DOWN", "STOPPED"):
        health = "on demand" if server.on_demand else "-"
    elif server.pending():
        health = "pending"
    else:
        health = (probe_fault(server) or "ok").splitlines()[0][:70]
    return Row(server.name, server.address, state.lower(), pid, tree_memory_mib(pid) if pid else 0, health)


def render(table: Sequence[Row]) -> str:
    """The table as text, with the sum of memory."""
    lines = [HEADINGS] + [
        (r.name, r.state, str(r.pid or "-"), f"{r.memory_mib} MiB" if r.pid else "-", r.health, r.address)
        for r in table
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
    total = sum(row.memory_mib for row in table)
    return f"{text}\nall together {total / 1024:.1f} GiB"
