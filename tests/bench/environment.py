"""Rivals in an environment of the benchmark's own: made with the project's uv from a pinned list, once per list.

It does not know what the rivals are for.
"""

import subprocess
import sys
from pathlib import Path

from local_stack.layout import REPO_ROOT


def make_environment(folder: Path, packages: Path, behind: Path | None = None) -> Path:
    """Install ``packages`` under ``folder``, unless that list is the one installed; returns its Python.

    What the list lacks is found in the folder of packages ``behind``.
    """
    wanted, stamp, python = packages.read_text(), folder / "installed.txt", folder / "bin" / "python"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    uv = str(REPO_ROOT / ".local" / "boot" / "bin" / "uv")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "-p", str(python), "-r", str(packages)], check=True)
    if behind is not None:
        own = next(folder.glob("lib/python3*/site-packages"))
        (own / "zz_project.pth").write_text(f"{behind}\n")
    stamp.write_text(wanted)
    return python
