"""Superset in an environment of its own: the web server, and the worker that runs SQL Lab's queries on Hive.

Its tables are a database of the MySQL server, under an account of its own. Before it starts, its database is brought
to what `dashboard/` says. Knows nothing about what the dashboards show.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from include.use_cases import USE_CASES
from local_stack import names
from local_stack.environment import stack_env
from local_stack.faults import StackError
from local_stack.layout import Layout
from local_stack.process import run_step
from local_stack.stack import Server, Stack, done_once

WEB, WORKER = "superset", "superset-worker"
THREADS = 16  # charts of the archive wait for Hive, each on a thread
QUERIES_AT_ONCE = 2
REQUEST_LIMIT_S = 300
#: Of the stack's names, what the processes get: the stores, as analysts reach them, and whose pages there are.
ITS_BUSINESS = (
    *("MYSQL_HOST", "MYSQL_PORT", "MYSQL_DATABASE", "MYSQL_ANALYST_USER", "MYSQL_ANALYST_PASSWORD"),
    *("HIVE_HOST", "HIVE_PORT", "HIVE_USER", "HIVE_DATABASE"),
    USE_CASES,
)
ACCOUNTS = ("SUPERSET_USER", "SUPERSET_PASSWORD", "SUPERSET_ANALYST_USER", "SUPERSET_ANALYST_PASSWORD")


def superset_servers(stack: Stack) -> tuple[Server, ...]:
    """The web server and the worker; the web server goes first, since it alone prepares the database."""
    web = Server(
        name=WEB,
        address=stack.ports.url("superset"),
        port_names=("superset",),
        needs=("mysql", "hiveserver2"),
        command=_gunicorn(stack),
        env=superset_env(stack),
        prepare=lambda: _prepare(stack),
        settle=lambda: _prepare(stack),  # a server that runs already gets changed definitions too
        probe=lambda: _probe_web(stack),
        on_demand=True,
        start_limit_s=300,
        stop_as_group=True,
    )
    worker = Server(
        name=WORKER,
        address=f"{stack.ports.address('superset')} (queue of files)",
        needs=(WEB,),
        command=_celery(stack),
        env=superset_env(stack),
        prepare=lambda: _worker_pid(stack).unlink(missing_ok=True),  # one that a killed worker left says nothing
        probe=lambda: _probe_worker(stack),
        on_demand=True,
        start_limit_s=300,
        stop_limit_s=20,
        stop_as_group=True,
    )
    return web, worker


def _program(stack: Stack, name: str) -> str:
    return str(stack.layout.superset_bin / name)


def refuse_uninstalled(layout: Layout) -> None:
    """Raise ``StackError`` if Superset's environment is not there."""
    if not (layout.superset_bin / "superset").exists():
        raise StackError("Superset is not installed", "run make install-dashboards, then the same command again")


def _gunicorn(stack: Stack) -> tuple[str, ...]:
    address = stack.ports.address("superset")
    size = ("--workers", "1", "--worker-class", "gthread", "--threads", str(THREADS))
    limits = ("--timeout", str(REQUEST_LIMIT_S), "--graceful-timeout", "5", "--limit-request-line", "0")
    return (_program(stack, "gunicorn"), "--bind", address, *size, *limits, "superset.app:create_app()")


def _celery(stack: Stack) -> tuple[str, ...]:
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    app = (
        "--app",
        "superset.tasks.celery_app:app",
        "worker",
        "--pool",
        "prefork",
        "--concurrency",
        str(QUERIES_AT_ONCE),
    )
    return (_program(stack, "celery"), *app, *alone, "--loglevel", "INFO", "--pidfile", str(_worker_pid(stack)))


def state(stack: Stack) -> Path:
    """Where Superset keeps its queue and results."""
    return stack.layout.data / "superset"


def _worker_pid(stack: Stack) -> Path:
    return stack.layout.run / "superset-worker.pid"


def superset_env(stack: Stack) -> dict[str, str]:
    """What both processes start with: Superset's own secrets and the analysts' way into the stores, nothing else."""
    layout, secrets = stack.layout, stack.secrets
    password = secrets["mysql_superset_password"]
    address = f"{names.SUPERSET_DB_USER}:{password}@{stack.ports.address('mysql')}"
    return {
        **{name: value for name, value in stack_env(stack).items() if name in ITS_BUSINESS},
        "PATH": f"{layout.superset_bin}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(layout.repo),
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
        "FLASK_APP": "superset.app:create_app()",
        "SCARF_ANALYTICS": "false",
        "SUPERSET_CONFIG_PATH": str(layout.repo / "dashboard" / "superset_config.py"),
        "SUPERSET_HOME": str(state(stack)),
        "SUPERSET_STATE": str(state(stack)),
        "SUPERSET_SECRET_KEY": secrets["superset_secret_key"],
        "SUPERSET_GUEST_SECRET": secrets["superset_guest_secret"],
        "SUPERSET_METADATA_URI": f"mysql+pymysql://{address}/{names.SUPERSET_DATABASE}?charset=utf8mb4",
    }


def _prepare(stack: Stack) -> None:
    """Folders, and the database as `dashboard/` says; done again when that, the lock or an account has changed."""
    for folder in ("queue", "control", "results"):
        (state(stack) / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    values = stack_env(stack)
    env = superset_env(stack) | {name: values[name] for name in ACCOUNTS}
    command = (_program(stack, "python"), "-m", "dashboard.provision")
    key = "".join(sorted(f"{k}={v}" for k, v in env.items())) + definitions(stack.layout.repo)
    done_once(
        state(stack) / ".provisioned",
        key,
        lambda: run_step("setting up Superset", command, stack.layout.logs / "superset-setup.log", env),
    )


def definitions(repo: Path) -> str:
    """What decides how Superset's database looks: a digest of `dashboard/` and of what use cases declare."""
    digest = hashlib.sha256()
    folders = (repo / "dashboard", repo / "include" / "use_cases")
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.suffix in (".py", ".txt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _probe_web(stack: Stack) -> None:
    import requests

    requests.get(f"{stack.ports.url('superset')}/health", timeout=10).raise_for_status()


def _probe_worker(stack: Stack) -> None:
    """The worker writes its process id when it listens to the queue."""
    import psutil

    path = _worker_pid(stack)
    if not path.is_file() or not psutil.pid_exists(int(path.read_text().strip() or 0)):
        raise ConnectionError("the worker does not listen yet")
