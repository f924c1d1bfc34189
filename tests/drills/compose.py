"""docker-compose.yml without Docker: its services as processes in a network of their own, found by the file's names.

    python -m tests.drills.compose [--keep FOLDER] [--without NAME ...]

Linux namespaces give what Docker would: a network in which service names resolve (to loopback here), host names, and an
end of every process with the drill's own. What runs are the file's commands and environments, with generated secrets,
in the file's order, each healthy by the file's own check where that is this project's. The others' images are played by
the embedded stack's programs: SeaweedFS and Kafka by the same version with the file's options, MySQL by MariaDB,
Airflow's Postgres by SQLite. Then two days are landed, ingested by Airflow on Spark's cluster and counted through
HiveServer2. Left out: the second nodes (one network has one port 6380) and Superset. Needs root, or user namespaces.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_stack import compose_env
from local_stack.airflow_api import AirflowApi
from local_stack.analyst import query_hive
from local_stack.layout import Layout, layout_from
from tests.deployment.compose_file import interpolated, loaded

FIRST, LAST = "2012-12-31", "2013-01-01"  # from where the shipped history starts
START_SECONDS = 900.0
#: Others may use the cores: at a load of 40 half an hour was too short.
WORK_SECONDS = 2 * 3600.0
#: Second nodes would want the ports of the first; Superset and the gateway are images of others.
LEFT_OUT = ("ray-worker", "ray-gpu-worker", "superset-setup", "superset", "superset-worker", "gateway", "postgres")
FROM_OUTSIDE = ("HOME", "LANG", "LC_ALL", "TMPDIR")
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


class ServiceFailed(RuntimeError):
    """A service ended or did not become healthy; the message holds the end of its log."""


@dataclass
class Play:
    """The file, its secrets, a folder for each service's state, and what runs."""

    folder: Path
    layout: Layout
    values: Mapping[str, str]
    services: Mapping[str, Any]
    configs: Mapping[str, Any]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """What Docker would give the service, as far as it is the file's or the image's."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        outer = {key: os.environ[key] for key in FROM_OUTSIDE if key in os.environ}
        image = {
            "PATH": f"{self.layout.bin}:{os.defpath}",
            "PYTHONPATH": f"{self.layout.repo}:{self.layout.repo / 'plugins'}",
            "LAMBDA_DL_STATE": str(home),
        }
        own = {key: str(value) for key, value in self.services[name].get("environment", {}).items()}
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in own:
            database = self.folder / "airflow.db"
            own["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{database}?timeout=60"
        return {**outer, **image, **own}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start the service under its host name."""
        host = self.services[name].get("hostname", f"{name}-1")
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command)
        log = (self.folder / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(
            named, cwd=self.layout.repo, env=self.environment(name), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )

    def call(self, name: str, *command: str) -> str:
        """Run a command beside the service, as `docker compose exec` does; raises when it fails."""
        done = subprocess.run(
            [str(self.layout.python), *command],
            cwd=self.layout.repo,
            env=self.environment(name),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ServiceFailed(f"{name}: {' '.join(command)}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout

    def wait(self, name: str, healthy: Callable[[], bool]) -> float:
        """Wait until the service is healthy; returns the seconds."""
        began = time.monotonic()
        while not healthy():
            if self.running[name].poll() is not None or time.monotonic() - began > START_SECONDS:
                raise ServiceFailed(f"{name}: {(self.folder / f'{name}.log').read_text(errors='replace')[-3000:]}")
            time.sleep(1)
        return time.monotonic() - began


def put_into_namespaces(arguments: Sequence[str]) -> None:
    """Become the same drill in namespaces of its own."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    again = (sys.executable, "-m", "tests.drills.compose", *arguments, "--inside")
    os.execvp("unshare", ["unshare", *user, *NAMESPACES, *again])


def name_hosts(folder: Path, names: Sequence[str]) -> None:
    """Loopback up, and every service's name resolved to it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hosts = folder / "hosts"
    everyone = sorted({*names, *(f"{name}-1" for name in names), socket.gethostname()})
    hosts.write_text(f"127.0.0.1 localhost {' '.join(everyone)}\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def play_s3(play: Play) -> None:
    """SeaweedFS with the file's options; its identities are a file as Docker would mount it."""
    identities, data = play.folder / "s3.json", play.folder / "s3-data"
    identities.write_text(play.configs["s3-identities"]["content"])
    data.mkdir()
    places = {"-dir=/data": f"-dir={data}", "-s3.config=/etc/seaweedfs/s3.json": f"-s3.config={identities}"}
    # What the image's own entrypoint puts before the options of `server`
    image = ("-volume.max=0", "-master.volumePreallocate", "-master.volumeSizeLimitMB=1024")
    command, *options = play.services["s3"]["command"]
    words = [places.get(option, option) for option in options]
    play.start("s3", (str(play.layout.bin / "weed"), "-logtostderr=true", command, *image, *words))


def play_kafka(play: Play) -> None:
    """The broker by the properties that the image makes of the environment."""
    given = play.services["kafka"]["environment"]
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in given.items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    } | {"log.dirs": str(play.folder / "kafka-data")}
    file = play.folder / "kafka.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    java = (str(play.layout.java), "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{play.layout.jars / 'kafka'}/*")
    form = ("kafka.tools.StorageTool", "format", f"--cluster-id={given['CLUSTER_ID']}", "-c", str(file))
    subprocess.run([*java, *form], check=True, capture_output=True)
    play.start("kafka", (*java, "kafka.Kafka", str(file)))


def play_mysql(play: Play) -> None:
    """MariaDB with the file's options, and root as the image makes it: from anywhere, by password."""
    base, data = play.layout.jars / "mariadb-dist", play.folder / "mysql-data"
    made = (f"--basedir={base}", f"--datadir={data}", f"--user={getpass.getuser()}")
    script = (str(base / "scripts" / "mariadb-install-db"), "--no-defaults", "--skip-test-db")
    subprocess.run([*script, "--auth-root-authentication-method=normal", *made], check=True, capture_output=True)
    root = play.services["mysql"]["environment"]["MYSQL_ROOT_PASSWORD"]
    init = play.folder / "root.sql"
    statements = (
        "DELETE FROM mysql.global_priv WHERE Host <> 'localhost'",
        "FLUSH PRIVILEGES",
        f"CREATE USER root@'%' IDENTIFIED BY '{root}'",
        "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
    )
    init.write_text("".join(f"{statement};\n" for statement in statements))
    places = (f"--basedir={base}", f"--lc-messages-dir={base / 'share'}", f"--datadir={data}", "--port=3306")
    files = (f"--socket={play.folder / 'mysql.sock'}", f"--pid-file={play.folder / 'mysql.pid'}", f"--init-file={init}")
    options = (*places, *files, f"--user={getpass.getuser()}", *play.services["mysql"]["command"])
    play.start("mysql", (str(base / "bin" / "mariadbd"), "--no-defaults", *options))


def play_predictor(play: Play) -> None:
    """The speed service by the command of its Dockerfile."""
    words = ("-m", "speed_service", "--host", "0.0.0.0", "--port", "8000", "--workers", "1")
    play.start("predictor", (str(play.layout.python), *words))


IMAGES: Mapping[str, tuple[Callable[[Play], None], int]] = {
    "s3": (play_s3, 8333),
    "kafka": (play_kafka, 9092),
    "mysql": (play_mysql, 3306),
    "predictor": (play_predictor, 8000),
}


def bring_up(play: Play, name: str) -> None:
    """Start one service and wait until it is healthy, or has ended well where it runs once."""
    began = time.monotonic()
    service = play.services[name]
    if name in IMAGES:
        start, port = IMAGES[name]
        start(play)
        play.wait(name, lambda: answers(port))
    elif service["restart"] == "no":
        play.call(name, *service["command"][1:])
    else:
        play.start(name, (str(play.layout.python), *service["command"][1:]))
        probe = service["healthcheck"]["test"][2:]
        play.wait(name, lambda: _ends_well(play, name, probe))
    print(f"  {name:18s} {time.monotonic() - began:6.1f} s", flush=True)


def _ends_well(play: Play, name: str, command: Sequence[str]) -> bool:
    try:
        play.call(name, *command)
    except ServiceFailed:
        return False
    return True


def order(services: Mapping[str, Any], without: Sequence[str]) -> list[str]:
    """The services in the order in which Compose would start them."""
    from graphlib import TopologicalSorter

    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    return [name for name in TopologicalSorter(needs).static_order() if name not in without]


def work(play: Play) -> dict[str, int]:
    """Two days from landing to Hive: on Spark's cluster, through Airflow; returns rows by table."""
    in_airflow = ("-m", "local_stack.container", "exec", "airflow-scheduler", "--")
    feeder = (str(play.layout.python), "-m", "include.use_cases.flight_delay.feeder")
    play.call("airflow-scheduler", *in_airflow, *feeder, "--from", FIRST, "--to", LAST, "--reference")
    airflow = AirflowApi("http://airflow-api:8080", "admin", play.values["AIRFLOW_PASSWORD"])
    airflow.wait_for_dag("ingest_window", START_SECONDS)
    run_id = airflow.trigger("ingest_window", {"from": FIRST, "to": LAST})
    airflow.follow("ingest_window", run_id, WORK_SECONDS)
    hive = {"HIVE_HOST": "hiveserver2", "HIVE_PORT": "10000", "HIVE_USER": "analyst", "HIVE_DATABASE": "flight_delay"}
    tables = ("raw_departures", "tiles", "features")
    return {table: int(query_hive(hive, f"SELECT count(*) FROM {table}")[0][0]) for table in tables}


def jobs_on_cluster() -> list[str]:
    """The applications that Spark's master has seen, by name."""
    import requests

    page = requests.get("http://spark-master:8082/json/", timeout=10).json()
    return sorted({str(app["name"]) for app in (*page["activeapps"], *page["completedapps"])})


def inside(folder: Path, without: Sequence[str], start_only: bool) -> int:
    """The drill itself; 0 when every service became healthy and the rows are in Hive."""
    values = compose_env.given(compose_env.completed("")[0])
    whole = interpolated(loaded(), values)
    play = Play(folder, layout_from({}), values, whole["services"], whole["configs"])
    name_hosts(folder, list(play.services))
    chosen = order(play.services, (*LEFT_OUT, *without))
    print(f"{len(chosen)} of {len(play.services)} services, logs in {folder}", flush=True)
    for name in chosen:
        bring_up(play, name)
    if start_only:
        return 0
    rows, jobs = work(play), jobs_on_cluster()
    print(f"rows through HiveServer2: {rows}; on Spark's cluster: {', '.join(jobs)}")
    return 0 if jobs and all(rows.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="a new folder for state and logs, which stays")
    parser.add_argument("--without", nargs="+", default=[], help="services to leave out as well")
    parser.add_argument("--start-only", action="store_true", help="see every service healthy, and land nothing")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        put_into_namespaces(sys.argv[1:])
    folder = options.keep or Path(tempfile.mkdtemp(prefix="ldl-compose-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return inside(folder.resolve(), options.without, options.start_only)
    except ServiceFailed as fault:
        print(f"failed: {fault}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
