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
    _compile(layout, ["LoopbackMetastore.scala"], [*hive, *hadoop], layout.jars / "launcher")
    spark = sorted(jar for name in ("spark", "slf4j") for jar in layout.pyspark_jars.glob(f"{name}-*.jar"))
    _compile(layout, ["ReadOnly.scala", "Stoppable.scala"], [*spark, *hadoop], hiveserver2_classes(layout))


def hiveserver2_classes(layout: Layout) -> Path:
    """Where HiveServer2's extensions lie: it changes nothing, and what is cancelled stops."""
    return layout.jars / "hiveserver2"


def _compile(layout: Layout, names: list[str], class_path: list[Path], target: Path) -> None:
    stamp, sources = target / ".source-sha256", [SOURCES / name for name in names]
    key = "".join(map(sha256_of, [*sources, LOCK_FILE]))
    if stamp.is_file() and stamp.read_text() == key:
        return
    print(f"Compiling {', '.join(names)} ...", flush=True)
    target.mkdir(parents=True, exist_ok=True)
    compiler = [*layout.pyspark_jars.glob("scala-*.jar"), *layout.pyspark_jars.glob("jline*.jar")]
    library = list(layout.pyspark_jars.glob("scala-library-*.jar"))
    command = [str(layout.java), "-cp", _joined(compiler), "scala.tools.nsc.Main", "-nowarn", "-usejavacp"]
    command += ["-d", str(target), "-cp", _joined([*class_path, *library]), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        words = f"{done.stdout[-300:]}{done.stderr[-300:]}"
        raise StackError(f"compiling {', '.join(names)} failed ({words})", "report this")
    stamp.write_text(key)


def _joined(jars: list[Path]) -> str:
    return ":".join(str(jar) for jar in jars)
