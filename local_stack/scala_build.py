"""Compile the few lines of Scala in `scala/` with the compiler that pyspark ships: no JDK, no build tool.

One folder of classes a program, stamped by the source and the jar lock. Knows only which class path each needs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from local_stack.faults import StackError
from local_stack.jars import LOCK_FILE, sha256_of
from local_stack.layout import Layout

SOURCES = Path(__file__).with_name("scala")


def build(layout: Layout) -> None:
    """Compile what has changed."""
    hadoop = sorted(layout.pyspark_jars.glob("hadoop-client-*.jar"))
    hive = sorted((layout.jars / "metastore-dist" / "lib").glob("*.jar"))
    _compile(layout, SOURCES / "LoopbackMetastore.scala", [*hive, *hadoop], layout.jars / "launcher")
    spark = sorted(layout.pyspark_jars.glob("spark-*.jar"))
    _compile(layout, SOURCES / "ReadOnly.scala", spark, read_only_classes(layout))


def read_only_classes(layout: Layout) -> Path:
    """Where the extension lies that makes HiveServer2 refuse to change anything."""
    return layout.jars / "read-only"


def _compile(layout: Layout, source: Path, class_path: list[Path], target: Path) -> None:
    stamp = target / ".source-sha256"
    key = sha256_of(source) + sha256_of(LOCK_FILE)
    if stamp.is_file() and stamp.read_text() == key:
        return
    print(f"Compiling {source.name} ...", flush=True)
    target.mkdir(parents=True, exist_ok=True)
    compiler = [*layout.pyspark_jars.glob("scala-*.jar"), *layout.pyspark_jars.glob("jline*.jar")]
    library = list(layout.pyspark_jars.glob("scala-library-*.jar"))
    command = [str(layout.java), "-cp", _joined(compiler), "scala.tools.nsc.Main", "-nowarn", "-usejavacp"]
    command += ["-d", str(target), "-cp", _joined([*class_path, *library]), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise StackError(f"compiling {source.name} failed ({done.stdout[-300:]}{done.stderr[-300:]})", "report this")
    stamp.write_text(key)


def _joined(jars: list[Path]) -> str:
    return ":".join(str(jar) for jar in jars)
