"""supervisord: its configuration, its start and end, and calls to it over its Unix socket.

Each server runs through a small launch script (mode 0700) that holds its environment, so no secret appears in a
process list or in the supervisor's own file. Knows processes, not what they are for.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy

import psutil

from local_stack.environment import render_exports
from local_stack.faults import StackError
from local_stack.process import last_words
from local_stack.secret_store import write_private
from local_stack.stack import Server, Stack

LOG_BYTES = "10MB"
ABANDONED_STOP_S = 60


def conf_path(stack: Stack) -> Path:
    return stack.layout.run / "supervisord.conf"


def socket_path(stack: Stack) -> Path:
    return stack.short_state() / "run" / "supervisor.sock"


def render_conf(stack: Stack, servers: Iterable[Server]) -> str:
    """supervisord's configuration: every server known, none started by itself."""
    layout = stack.layout
    head = f"""[supervisord]
logfile={layout.logs}/supervisord.log
logfile_maxbytes={LOG_BYTES}
logfile_backups=2
pidfile={layout.run}/supervisord.pid
childlogdir={layout.logs}
directory={layout.repo}
umask=077

[unix_http_server]
file={socket_path(stack)}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket_path(stack)}
"""
    return head + "".join(_program(stack, server) for server in servers)


def _program(stack: Stack, server: Server) -> str:
    log = stack.layout.logs / f"{server.name}.log"
    group = "true" if server.stop_as_group else "false"
    return f"""
[program:{server.name}]
command={launch_path(stack, server.name)}
directory={stack.layout.repo}
autostart=false
autorestart=true
startsecs=1
startretries=1000
stopwaitsecs={server.stop_limit_s}
stopasgroup={group}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=3
"""


def launch_path(stack: Stack, name: str) -> Path:
    return stack.layout.run / f"{name}.sh"


def write_launcher(stack: Stack, server: Server) -> None:
    """The script that supervisord runs for a server."""
    text = f"#!/bin/bash\n{render_exports(server.env)}exec {shlex.join(server.command)}\n"
    write_private(launch_path(stack, server.name), text, mode=0o700)


def start_supervisor(stack: Stack, servers: Iterable[Server]) -> bool:
    """Start supervisord unless it runs; true when it had to be started."""
    if is_running(stack):
        return False
    write_private(conf_path(stack), render_conf(stack, servers))
    command = [str(stack.layout.bin / "supervisord"), "-c", str(conf_path(stack))]
    done = subprocess.run(command, capture_output=True, text=True, env=_clean_environment())
    if done.returncode != 0:
        raise StackError(f"supervisord did not start ({done.stderr or done.stdout})", f"see {stack.layout.logs}")
    wait_for(lambda: is_running(stack), 20, "supervisord", stack)
    return True


def _clean_environment() -> dict[str, str]:
    """What servers may inherit from the caller's shell: nothing that would bend Python, Java, Airflow or a proxy."""
    kept = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES")
    local = "127.0.0.1,localhost"
    return {k: v for k, v in os.environ.items() if k in kept} | {"no_proxy": local, "NO_PROXY": local}


def wait_for(condition: Callable[[], bool], limit_s: float, what: str, stack: Stack) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise StackError(f"{what} took over {limit_s:.0f} s", f"see {stack.layout.logs}")
        time.sleep(0.1)


def _call(stack: Stack, method: str, *args: object) -> Any:
    """One call over a connection of its own: cheap, and a shared one would not stand several threads."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket_path(stack)}")
    try:
        server = cast(Any, ServerProxy("http://127.0.0.1", transport=transport))
        return getattr(server.supervisor, method)(*args)
    finally:
        transport.close()


def is_running(stack: Stack) -> bool:
    try:
        return bool(_call(stack, "getState")["statename"] == "RUNNING")
    except (OSError, Fault):
        return False


def process_states(stack: Stack) -> dict[str, tuple[str, int]]:
    """State and process id of every server; empty while supervisord is down."""
    try:
        return {info["name"]: (info["statename"], info["pid"]) for info in _call(stack, "getAllProcessInfo")}
    except OSError:
        return {}


def start(stack: Stack, server: Server) -> None:
    """Start one server; no wait for health."""
    write_launcher(stack, server)
    state, _ = process_states(stack).get(server.name, ("UNKNOWN", 0))
    if state == "UNKNOWN":
        raise StackError(f"supervisord does not know {server.name}", "run make down, then make up")
    if state not in ("RUNNING", "STARTING", "BACKOFF"):
        try:
            _call(stack, "startProcess", server.name, False)
        except Fault as fault:
            raise StackError(f"{server.name} was not started ({fault.faultString})", "run make up again") from fault


def stop(stack: Stack, name: str) -> None:
    """Stop one server and wait until it is gone; one that this supervisor was not started with is not there."""
    try:
        _call(stack, "stopProcess", name, True)
    except Fault as fault:
        if not fault.faultString.startswith(("NOT_RUNNING", "BAD_NAME")):
            raise


def shut_down(stack: Stack) -> None:
    """End supervisord itself and wait until it is gone."""
    pid_file = stack.layout.run / "supervisord.pid"
    pid = int(pid_file.read_text()) if pid_file.is_file() else 0
    _call(stack, "shutdown")
    wait_for(lambda: not is_running(stack) and not _alive(pid), 60, "supervisord's end", stack)


def abandoned(stack: Stack) -> list[psutil.Process]:
    """Processes that a supervisor of this stack started, by the address that it gives to each."""
    address, found = f"unix://{socket_path(stack)}", []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone meanwhile, or another user's
            if process.environ().get("SUPERVISOR_SERVER_URL") == address:
                found.append(process)
    return found


def refuse_abandoned(stack: Stack) -> None:
    """Raise if a supervisor that was killed has left processes behind: they hold ports and data."""
    if left := abandoned(stack):
        raise StackError(f"{len(left)} processes of this stack have lost their supervisor", "run make down first")


def end_abandoned(stack: Stack) -> int:
    """Stop what a supervisor that was killed has left behind; returns how many processes there were."""
    processes = abandoned(stack)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=ABANDONED_STOP_S)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    return len(processes)


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def explain(stack: Stack, server: Server) -> str:
    """Why a server is not healthy, as far as its log tells."""
    log = stack.layout.logs / f"{server.name}.log"
    return f"its log {log} ends: {last_words(log)}"
