"""up, down: start what is asked for in the order of its needs, independent servers at the same time; stop in reverse.

Knows the graph of servers and the clock; a server's own module knows everything else.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from local_stack import supervision
from local_stack.environment import process_env, render_env, render_exports, stack_env
from local_stack.faults import StackError
from local_stack.ports import choose_base, refuse_taken, remember_base
from local_stack.profiles import remember_profile
from local_stack.secret_store import write_private
from local_stack.servers.airflow import airflow_servers
from local_stack.servers.hiveserver2 import hiveserver2
from local_stack.servers.kafka import kafka_brokers
from local_stack.servers.metastore import metastore
from local_stack.servers.mysql import mysql
from local_stack.servers.predictor import predictors
from local_stack.servers.ray import ray_cluster
from local_stack.servers.s3 import s3
from local_stack.servers.spark import spark_cluster
from local_stack.servers.stream import stream
from local_stack.servers.superset import refuse_uninstalled, superset_servers
from local_stack.spark_conf import write_conf
from local_stack.stack import Server, Stack, choose_use_cases, refuse_unknown_use_cases, remember_use_cases

PROBE_EVERY_S = 0.25
LIVES = 3  # a server that died this often while it was starting will not come up


def all_servers(stack: Stack) -> tuple[Server, ...]:
    """Every server of the stack, each after those it needs."""
    stores = (s3(stack), *kafka_brokers(stack), mysql(stack), metastore(stack))
    streams = [stream(stack, name) for name in stack.use_cases]
    compute = (*spark_cluster(stack), *predictors(stack), *streams, hiveserver2(stack), *ray_cluster(stack))
    return (*stores, *airflow_servers(stack), *compute, *superset_servers(stack))


def choose(
    servers: Sequence[Server], names: Sequence[str], everything: bool, without: Sequence[str] = ()
) -> list[Server]:
    """The servers asked for, less those ``without`` which to do, with all that they need: the core by default."""
    by_name = {server.name: server for server in servers}
    unknown = [name for name in (*names, *without) if name not in by_name]
    if unknown:
        raise StackError(f"no server is called {unknown[0]}", f"choose from {', '.join(by_name)}")
    wanted = set(names) or {s.name for s in servers if everything or not s.on_demand}
    wanted -= set(without)
    for server in reversed(servers):
        if server.name in wanted:
            wanted |= set(server.needs)
    return [server for server in servers if server.name in wanted]


@dataclass(frozen=True)
class Started:
    """How one start went."""

    server: Server
    seconds: float
    note: str


def up(stack: Stack, names: Sequence[str] = (), everything: bool = False, without: Sequence[str] = ()) -> None:
    """Bring the servers up and healthy; raise with one line when one is not."""
    began = time.monotonic()
    refuse_unknown_use_cases(stack)
    servers = all_servers(stack)
    chosen = choose(servers, names, everything, without)
    with alone(stack):
        _up(stack, servers, chosen)
    print(f"{len(chosen)} servers up in {time.monotonic() - began:.1f} s; {stack.layout.env_file} names them all")


@contextmanager
def alone(stack: Stack) -> Iterator[None]:
    """Raise if another process is starting this stack's servers; the system forgets a holder that has died."""
    with (stack.layout.run / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another make up is at work in {stack.layout.state}", "wait for its end") from None
        yield


def _up(stack: Stack, servers: Sequence[Server], chosen: Sequence[Server]) -> None:
    if any(server.name.startswith("superset") for server in chosen):
        refuse_uninstalled(stack.layout)
    states = supervision.process_states(stack)
    if states:
        refuse_other_names(stack)
    else:
        supervision.refuse_abandoned(stack)
    idle = [s for s in chosen if states.get(s.name, ("STOPPED", 0))[0] != "RUNNING"]
    refuse_taken(stack.ports, [name for s in idle if not _trying(states, s) for name in s.port_names])
    _write_environment(stack)
    if supervision.start_supervisor(stack, servers):
        (stack.layout.run / "started").touch()
    _start_all(stack, chosen)


def refuse_other_names(stack: Stack) -> None:
    """Raise if the stack runs on other ports, or for other use cases, than are asked for.

    Its files would name servers that are not there, and databases that nobody has made.
    """
    base, use_cases = choose_base(stack.layout.state / "port_base", {}), choose_use_cases(stack.layout.state, {})
    if base != stack.ports.base:
        raise StackError(f"this stack runs on ports from {base} on", "run make down first")
    if use_cases != stack.use_cases:
        raise StackError(f"this stack runs {', '.join(use_cases)}", "run make down first")


def _trying(states: dict[str, tuple[str, int]], server: Server) -> bool:
    return states.get(server.name, ("", 0))[0] in ("STARTING", "BACKOFF")


def _write_environment(stack: Stack) -> None:
    remember_base(stack.layout.state / "port_base", stack.ports.base)
    remember_profile(stack.layout.state, stack.profile)
    remember_use_cases(stack)
    write_conf(stack)
    write_private(stack.layout.env_file, render_env(stack_env(stack)))
    write_private(stack.layout.conf / "process.env", render_exports(process_env(stack)))


def _start_all(stack: Stack, chosen: Sequence[Server]) -> None:
    """One thread a server; each waits for those that it needs."""
    running: dict[str, Future[Started]] = {}
    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        for server in chosen:
            needed = [running[name] for name in server.needs if name in running]
            running[server.name] = pool.submit(_start_one, stack, server, needed)
    faults = [fault for future in running.values() if (fault := future.exception())]
    own = [fault for fault in faults if not isinstance(fault, NotTriedError)]
    if own:
        raise own[0]


class NotTriedError(StackError):
    """A server that was not started since one that it needs is not there."""


def _start_one(stack: Stack, server: Server, needed: Iterable[Future[Started]]) -> Started:
    for future in needed:
        if future.exception() is not None:
            raise NotTriedError(f"{server.name} was not started", "see what it needs")
    began = time.monotonic()
    try:
        note = _bring_up(stack, server)
    except (StackError, OSError) as fault:
        print(f"  {server.name:18s} FAILED  {fault}\n", end="", flush=True)
        raise
    started = Started(server, time.monotonic() - began, note)
    print(f"  {server.name:18s} {note:8s} {started.seconds:5.1f} s  {server.address}\n", end="", flush=True)
    return started


def _bring_up(stack: Stack, server: Server) -> str:
    if supervision.process_states(stack).get(server.name, ("", 0))[0] != "RUNNING":
        server.prepare()
        supervision.start(stack, server)
    why = server.pending()
    if why:
        return f"pending ({why})"
    wait_healthy(stack, server)
    server.settle()
    return "ready"


def wait_healthy(stack: Stack, server: Server) -> None:
    """Ask until the server answers as it should, or its time is over."""
    end = time.monotonic() + server.start_limit_s
    lives: set[int] = set()
    while (fault := probe_fault(server)) is not None:
        state, pid = supervision.process_states(stack).get(server.name, ("", 0))
        # In a container of its own no supervisor runs it, and none has.
        if state == "STOPPED" or (not state and any(lives)):
            raise StackError(f"{server.name} was stopped while it was starting", "a make down? then run make up again")
        lives.add(pid)
        if len(lives - {0}) > LIVES:
            raise StackError(f"{server.name} keeps dying", supervision.explain(stack, server))
        if time.monotonic() > end:
            late = f"{server.name} is not healthy after {server.start_limit_s:.0f} s ({fault[:200]})"
            raise StackError(late, supervision.explain(stack, server))
        time.sleep(PROBE_EVERY_S)


def probe_fault(server: Server) -> str | None:
    """What is wrong with the server's answer; none when all is well."""
    try:
        server.probe()
    except Exception as fault:  # a probe may fail in any of its client library's ways; all mean "not yet"
        return f"{type(fault).__name__}: {fault}"
    return None


def down(stack: Stack) -> None:
    """Stop every server, those that need others first, then the supervisor."""
    if not supervision.is_running(stack):
        left = supervision.end_abandoned(stack)
        print(f"the supervisor was gone; it had left {left} processes, stopped" if left else "nothing is running")
        return
    began = time.monotonic()
    for wave in stop_waves(all_servers(stack)):
        with ThreadPoolExecutor(max_workers=len(wave)) as pool:
            list(pool.map(lambda server: supervision.stop(stack, server.name), wave))
    supervision.shut_down(stack)
    print(f"all servers stopped in {time.monotonic() - began:.1f} s; the data stays in {stack.layout.state}")


def stop_waves(servers: Sequence[Server]) -> list[list[Server]]:
    """Servers in the order in which they may stop: what uses a store goes before any store.

    Airflow's tasks use everything, so its processes go first, whatever their own needs say, and Superset's worker too.
    """
    fronts = [s for s in servers if s.name in ("airflow-api", "superset")]
    users = [s for s in servers if s.name.startswith(("airflow", "superset")) and s not in fronts]
    services = [s for s in servers if s.name.startswith(("predictor", "stream", "ray", "hiveserver2", "spark"))]
    named = {s.name for s in (*users, *fronts, *services)}
    stores = [s for s in servers if s.name not in named]
    return [wave for wave in (users, fronts, *_unneeded_first(services), *_unneeded_first(stores)) if wave]


def _unneeded_first(servers: Sequence[Server]) -> Iterator[list[Server]]:
    """Waves of these servers, each of those that none of the rest needs."""
    rest = list(servers)
    while rest:
        wave = [server for server in rest if not any(server.name in other.needs for other in rest)]
        yield wave
        rest = [server for server in rest if server not in wave]
