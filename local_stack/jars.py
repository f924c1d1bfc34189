"""The jars: which files of which version, and whether what lies on disk is exactly that.

`jars.lock.json` pins each file by coordinate and SHA-256, in sets (kafka, mariadb, metastore, spark). They are fetched
by the Ivy that pyspark bundles, from the repository that Ivy is configured for; set `LAMBDA_DL_IVY_SETTINGS` to an
ivysettings.xml for a mirror. Standard library only: it runs before anything is known to work.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from local_stack.faults import StackError
from local_stack.layout import Layout

LOCK_FILE = Path(__file__).with_name("jars.lock.json")
TRUST_STORE_PASSWORD = "changeit"  # noqa: S105 - Java's own convention: the store holds public certificates only


@dataclass(frozen=True, order=True)
class Jar:
    """One pinned file: `org:name:rev` or `org:name:rev:ext:classifier`, and its SHA-256."""

    jar_set: str
    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        _, name, rev, ext, classifier = self.parts
        return f"{name}-{rev}{'-' + classifier if classifier else ''}.{ext}"

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        org, name, rev, *rest = self.coordinate.split(":")
        ext, classifier = rest if rest else ("jar", "")
        return org, name, rev, ext, classifier


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Every pinned jar."""
    sets: dict[str, dict[str, str]] = json.loads(path.read_text())
    return [Jar(name, coordinate, sha) for name, files in sets.items() for coordinate, sha in files.items()]


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def wrong_files(jars: Iterable[Jar], folder: Path) -> list[Jar]:
    """The jars that are missing from the folder, or whose bytes are not the pinned ones."""
    return [jar for jar in jars if not _is_right(jar, folder / jar.jar_set / jar.filename)]


def _is_right(jar: Jar, path: Path) -> bool:
    return path.is_file() and sha256_of(path) == jar.sha256


def ivy_module(jars: Iterable[Jar]) -> str:
    """An Ivy file that asks for exactly these files and nothing that they depend on."""
    wanted = list(jars)
    confs = "".join(f"<conf name={quoteattr(name)}/>" for name in sorted({jar.jar_set for jar in wanted}))
    return (
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
        '<info organisation="local" module="lambda-dl"/>'
        f"<configurations>{confs}</configurations>"
        f"<dependencies>{''.join(_ivy_dependency(jar) for jar in wanted)}</dependencies></ivy-module>\n"
    )


def _ivy_dependency(jar: Jar) -> str:
    org, name, rev, ext, classifier = jar.parts
    head = (
        f"<dependency org={quoteattr(org)} name={quoteattr(name)} rev={quoteattr(rev)}"
        f' conf="{jar.jar_set}-&gt;default" transitive="false">'
    )
    extra = f" m:classifier={quoteattr(classifier)}" if classifier else ""
    artifact = f'<artifact name={quoteattr(name)} type="jar" ext={quoteattr(ext)}{extra}/>' if extra else ""
    return f"{head}{artifact}</dependency>"


def fetch(layout: Layout, sets: Iterable[str] | None = None) -> bool:
    """Bring every pinned jar, or those of some sets, to its place; true when something had to be fetched."""
    chosen = None if sets is None else set(sets)
    jars = [jar for jar in read_lock() if chosen is None or jar.jar_set in chosen]
    if _stamp_is_current(layout):
        return False
    missing = wrong_files(jars, layout.jars)
    if missing:
        print(f"Jars: fetching {len(missing)} of {len(jars)} ...", flush=True)
        run_ivy(layout, ivy_module(missing), layout.jars / "[conf]" / "[artifact]-[revision](-[classifier]).[ext]")
        _refuse_wrong(wrong_files(jars, layout.jars), layout)
    remove_others(jars, layout.jars)
    unpack(layout)
    _stamp(layout).write_text(sha256_of(LOCK_FILE))
    return True


def remove_others(jars: Iterable[Jar], folder: Path) -> None:
    """Delete what an earlier lock has left in these sets: two versions of a library on a class path break Spark."""
    wanted = {folder / jar.jar_set / jar.filename for jar in jars}
    for jar_set in {path.parent for path in wanted}:
        for path in set(jar_set.iterdir()) - wanted:
            path.unlink()


def _refuse_wrong(wrong: list[Jar], layout: Layout) -> None:
    for jar in wrong:
        (layout.jars / jar.jar_set / jar.filename).unlink(missing_ok=True)
    if wrong:
        shutil.rmtree(_ivy_cache(layout), ignore_errors=True)  # or Ivy would hand out the same bytes again
        raise StackError(
            f"{len(wrong)} jars did not arrive as pinned (first: {wrong[0].coordinate})",
            "run the same command again; if it stays, the source serves other files than jars.lock.json pins",
        )


def _stamp(layout: Layout) -> Path:
    return layout.jars / ".lock-sha256"


def _stamp_is_current(layout: Layout) -> bool:
    stamp = _stamp(layout)
    return stamp.is_file() and stamp.read_text() == sha256_of(LOCK_FILE)


def _ivy_cache(layout: Layout) -> Path:
    return layout.toolchain / "cache" / "ivy"


def run_ivy(layout: Layout, module: str, pattern: Path) -> None:
    """Run pyspark's Ivy over one module file and retrieve its files by the pattern."""
    found = sorted(layout.pyspark_jars.glob("ivy-*.jar"))
    if not found:
        raise StackError("pyspark's Ivy is missing", f"remove {layout.venv} and run the same command again")
    cache = _ivy_cache(layout)
    cache.mkdir(parents=True, exist_ok=True)
    module_file = cache / "ivy.xml"
    module_file.write_text(module)
    settings = os.environ.get("LAMBDA_DL_IVY_SETTINGS")
    command = [str(layout.java), *_trust_flags(layout), *proxy_flags(os.environ)]
    command += ["-jar", str(found[0]), "-cache", str(cache)]
    command += ["-settings", settings] if settings else []
    command += ["-ivy", str(module_file), "-retrieve", str(pattern), "-types", "jar", "bundle"]
    log = cache / "ivy.log"
    if _run_with_progress(command, log) != 0:
        raise StackError(
            f"downloading jars broke (details in {log})", "check the network, then run the same command again"
        )


def _run_with_progress(command: list[str], log: Path) -> int:
    """Run Ivy, all output to the log, one dot-line a file to the terminal."""
    done = 0
    with log.open("w") as sink, subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as ivy:
        assert ivy.stdout is not None
        for line in ivy.stdout:
            sink.write(line)
            if "[SUCCESSFUL ]" in line:
                done += 1
                print(f"  {done:3d} {line.split('!')[-1].strip()}", flush=True)
        return ivy.wait()


def _trust_flags(layout: Layout) -> list[str]:
    """Java flags that make it trust what the system trusts: its own list does not know a company's authority."""
    store = layout.toolchain / "cache" / "trust.p12"
    made = subprocess.run([str(layout.python), "-m", "local_stack.trust_store", str(store)], cwd=layout.repo)
    if made.returncode != 0 or not store.is_file():
        return []
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}"]


def proxy_flags(environment: Mapping[str, str]) -> list[str]:
    """Java flags for the proxies that the environment names for all other programs (Java itself does not look).

    Raises ``StackError`` for an address that is none.
    """
    flags = []
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        given = environment.get(name) or environment.get(name.upper())
        if given:
            host, port = _proxy(name, given)
            flags += [f"-D{scheme}.proxyHost={host}", f"-D{scheme}.proxyPort={port}"]
    direct = environment.get("no_proxy") or environment.get("NO_PROXY")
    if flags and direct:
        names = (name.strip() for name in direct.split(","))
        # Java's pattern for both schemes; a domain that begins with a dot means all in it.
        flags.append(f"-Dhttp.nonProxyHosts={'|'.join(f'*{n}' if n.startswith('.') else n for n in names if n)}")
    return flags


def _proxy(name: str, given: str) -> tuple[str, int]:
    try:
        address = urlsplit(given if "://" in given else f"//{given}")
        host, port = address.hostname, address.port or 80
    except ValueError:
        host, port = None, 0
    if not host:
        raise StackError(f"{name} is {given!r}, which is no address", "set it like http://proxy.example:3128")
    return host, port


def unpack(layout: Layout) -> None:
    """Unpack what comes as an archive: the metastore's libraries and the MariaDB server."""
    for archive in layout.jars.glob("metastore/*.tar.gz"):
        _unpack_tar(archive, layout.jars / "metastore-dist")
    for archive in layout.jars.glob("mariadb/*.jar"):
        _unpack_zip(archive, layout.jars / "mariadb-dist")


def _unpack_tar(archive: Path, target: Path) -> None:
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(partial, filter="data")
    _replace(next(partial.iterdir()), target)
    shutil.rmtree(partial, ignore_errors=True)


def _unpack_zip(archive: Path, target: Path) -> None:
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(archive) as jar:
        jar.extractall(partial)
    base = next(partial.rglob("mariadb-install-db")).parent.parent
    for folder in ("bin", "scripts"):
        for program in (base / folder).iterdir():
            program.chmod(0o755)
    _replace(base, target)
    shutil.rmtree(partial, ignore_errors=True)


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)
