"""Who answers: our service and the rivals, each as a command, and how to start and stop one at a time.

The rivals run in an environment of the benchmark's own (``rivals.txt``). Every server, with all processes that it
starts, stays on the core that it is given, and its telemetry is off.
"""

import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local_stack.layout import REPO_ROOT, layout_from
from local_stack.servers import predictor
from local_stack.stack import open_stack
from tests.bench.environment import make_environment
from tests.bench.speed.material import Material

HERE = Path(__file__).parent
RIVALS = HERE / "rivals"
TOKEN = "a-token-of-the-benchmark-alone"
START_SECONDS = 120.0
STOP_SECONDS = 20.0
QUIET_SECONDS = 30.0
QUIET_SHARE = 0.15
OURS, FLASK, FASTAPI = "ours", "Flask + gunicorn, Torch", "FastAPI + uvicorn, ONNX Runtime"


@dataclass(frozen=True)
class Server:
    """A command that serves ``path`` on ``port``, and the environment that it needs beside the plain one."""

    name: str
    command: tuple[str, ...]
    path: str
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False


@dataclass(frozen=True)
class Place:
    """Where the benchmark works: folder, first port, worker processes a server, cores of servers and load (-1: any)."""

    folder: Path
    base: int
    workers: int
    server_core: int
    load_core: int

    @property
    def rivals(self) -> Path:
        """The rivals' environment."""
        return self.folder / "rivals"

    def binary(self, name: str) -> str:
        """A program of the rivals' environment."""
        return str(self.rivals / "bin" / name)


def make_rivals_environment(place: Place) -> None:
    """Install the rivals, unless the list is the one installed; Torch they find in the project's own packages."""
    make_environment(place.rivals, HERE / "rivals.txt", behind=layout_from().site_packages)


def export_onnx(place: Place, material: Material) -> str:
    """Write the network as ONNX in the rivals' environment; returns what the comparison of all rows said."""
    files = [str(material.folder / name) for name in ("network.pt", "rows.npz", "network.onnx")]
    command = [place.binary("python"), str(RIVALS / "export_onnx.py"), *files]
    env = {**os.environ, "PYTHONPATH": str(REPO_ROOT)}
    ran = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return ran.stdout.strip()


def our_server(place: Place, material: Material, use_case: str) -> Server:
    """Our service with the stack's own command, but a world of the benchmark's own behind it."""
    command = list(predictor._command(open_stack(layout_from()), "predictor"))
    command += ["--app", "tests.bench.speed.world:app"]
    command[command.index("--port") + 1] = str(place.base)
    command[command.index("--workers") + 1] = str(place.workers)
    return Server(
        name=OURS,
        command=tuple(command),
        path=f"/v1/{use_case}/predict",
        port=place.base,
        env={"PYTHONPATH": str(REPO_ROOT), "BENCH_MATERIAL": str(material.folder), "PREDICTOR_TOKEN": TOKEN},
        headers={"Authorization": f"Bearer {TOKEN}"},
        ours=True,
    )


def rival_servers(place: Place, material: Material) -> list[Server]:
    """The others, each on a port of its own."""
    workers, ports = str(place.workers), [place.base + number for number in range(1, 6)]
    chdir, onnx = str(RIVALS), {"BENCH_MODEL": str(material.onnx), "BENCH_WORKERS": workers, "PYTHONPATH": str(RIVALS)}
    torch = {**onnx, "BENCH_MODEL": str(material.folder / "network.pt"), "PYTHONPATH": f"{RIVALS}:{REPO_ROOT}"}

    def at(port: int) -> tuple[str, ...]:
        return ("--host", "127.0.0.1", "--port", str(port))

    gunicorn = ("--bind", f"127.0.0.1:{ports[0]}", "--workers", workers, "--chdir", chdir, "--log-level", "warning")
    uvicorn = ("--workers", workers, "--loop", "uvloop", "--http", "httptools", "--no-access-log")
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.folder / "bentoml")}
    ray = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": "/tmp/bs-ray",
        # Some of its ports listen everywhere: a token for this run guards them, and none is left in the home folder
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Without it Ray replaces 127.0.0.1 by the machine's outer address and listens there
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }

    def python(file: str) -> tuple[str, ...]:
        return (place.binary("python"), str(RIVALS / file))

    return [
        Server(FLASK, (place.binary("gunicorn"), *gunicorn, "flask_torch:app"), "/predict", ports[0], torch),
        Server(
            FASTAPI, (place.binary("uvicorn"), "fastapi_onnx:app", *at(ports[1]), *uvicorn), "/predict", ports[1], onnx
        ),
        Server(
            "BentoML, ONNX Runtime",
            (place.binary("bentoml"), "serve", "bentoml_onnx:Predictor", *at(ports[2]), "--working-dir", chdir),
            "/predict",
            ports[2],
            {**onnx, **quiet},
        ),
        Server(
            "LitServe, ONNX Runtime",
            python("litserve_onnx.py"),
            "/predict",
            ports[3],
            {**onnx, "BENCH_PORT": str(ports[3])},
        ),
        Server(
            "Ray Serve, ONNX Runtime",
            python("ray_serve_onnx.py"),
            "/predict",
            ports[4],
            {**onnx, **ray, "BENCH_PORT": str(ports[4])},
        ),
    ]


def plain_environment() -> dict[str, str]:
    """The environment without the stack's addresses and secrets: servers of the benchmark know none of them."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {**found, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}


def pinned(core: int) -> Callable[[], None]:
    """What a child does before it becomes the program: stay on one core."""
    return lambda: os.sched_setaffinity(0, {core}) if core >= 0 else None


@contextmanager
def running(place: Place, server: Server, body: bytes) -> Iterator[psutil.Process]:
    """The server, started and answering ``body``, and stopped with every process it started."""
    place.folder.joinpath("logs").mkdir(parents=True, exist_ok=True)
    log = place.folder / "logs" / f"{server.name.split(',')[0].split(' ')[0].lower()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command,
            env=plain_environment() | dict(server.env),
            cwd=place.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=pinned(place.server_core),
        )
    try:
        wait_until_ready(server, body, process, log)
        wait_until_quiet(process.pid)
        yield psutil.Process(process.pid)
    finally:
        stop(process)


def wait_until_ready(server: Server, body: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until it answers 200; raises with the end of its log when it ends or the time is over."""
    deadline, said = time.monotonic() + START_SECONDS, "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            ask(server, body)
            return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read()[:300]!r}"
        except OSError as error:
            said = str(error)
        time.sleep(0.1)
    raise RuntimeError(f"{server.name} does not answer ({said}):\n{log.read_text()[-3000:]}")


def wait_until_quiet(pid: int) -> None:
    """Wait until its processes have done what they do at start (Ray's go on for a while), or the time is over."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        before, started = cpu_seconds(pid), time.monotonic()
        time.sleep(1.0)
        if cpu_seconds(pid) - before < QUIET_SHARE * (time.monotonic() - started):
            return


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its descendants that live now."""
    total = 0.0
    for process in (psutil.Process(pid), *family(pid)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def ask(server: Server, body: bytes) -> bytes:
    """One request; raises what urllib raises when the answer is no 200."""
    headers = {"Content-Type": "application/json", **server.headers}
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{server.path}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        content: bytes = response.read()
    return content


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it politely, then whatever of its processes is left by force."""
    started = family(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(started, timeout=3)
    for other in left:
        other.kill()
    psutil.wait_procs(left, timeout=5)


def family(pid: int) -> list[psutil.Process]:
    """All descendants of a process, as they are now."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
