"""Where everything lives under `.local/`.

Two roots: the *toolchain* (Python environment, Java, jars), installed once per checkout, and the *state* (data,
secrets, logs, sockets) of one stack; `LAMBDA_DL_STATE` names another state folder, so a test stack can run beside
the user's on the same toolchain. Knows only paths; creates nothing by itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Layout:
    """Every path that the stack uses, derived from the repository root and the state folder."""

    repo: Path
    state: Path

    @property
    def toolchain(self) -> Path:
        return self.repo / ".local"

    @property
    def venv(self) -> Path:
        return self.toolchain / "venv"

    @property
    def bin(self) -> Path:
        return self.venv / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    @property
    def superset_venv(self) -> Path:
        """Superset's environment: it needs other versions of the same packages."""
        return self.toolchain / "superset"

    @property
    def superset_bin(self) -> Path:
        return self.superset_venv / "bin"

    @property
    def site_packages(self) -> Path:
        found = sorted(self.venv.glob("lib/python3*/site-packages"))
        return found[0] if found else self.venv / "lib" / "python3" / "site-packages"

    @property
    def java_home(self) -> Path:
        return self.toolchain / "java"

    @property
    def java(self) -> Path:
        return self.java_home / "bin" / "java"

    @property
    def jars(self) -> Path:
        return self.toolchain / "jars"

    @property
    def spark_jars(self) -> Path:
        return self.jars / "spark"

    @property
    def pyspark_jars(self) -> Path:
        return self.site_packages / "pyspark" / "jars"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def conf(self) -> Path:
        return self.state / "conf"

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def airflow_home(self) -> Path:
        return self.state / "airflow"

    @property
    def secrets_file(self) -> Path:
        return self.state / "secrets.json"

    @property
    def env_file(self) -> Path:
        return self.state / "stack.env"

    @property
    def settings_file(self) -> Path:
        return self.state / "settings.json"

    def make_folders(self) -> None:
        """Create the state folders, closed to other users."""
        for folder in (self.state, self.run, self.logs, self.conf, self.data, self.airflow_home):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def layout_from(environment: dict[str, str] | None = None) -> Layout:
    """The layout of this checkout, with the state folder that the environment asks for."""
    env = dict(os.environ) if environment is None else environment
    state = env.get("LAMBDA_DL_STATE") or ".local"
    return Layout(REPO_ROOT, (REPO_ROOT / state).resolve())
