"""Hive metastore: version 3.1.3 (the protocol that Spark 4.2 and Airflow's hook speak), its tables in MySQL.

It is started through a small launcher of our own (`scala/LoopbackMetastore.scala`): the original main listens on all
interfaces and has no setting for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from local_stack import names
from local_stack.process import run_step
from local_stack.secret_store import write_private
from local_stack.servers import mysql
from local_stack.stack import Server, Stack

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

JVM = (
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.net", "java.lang", "java.util")),
)
FROM_PYSPARK = ("hadoop-client", "scala-library", "httpclient", "httpcore", "commons-codec")
SCHEMA_TOOL = "org.apache.hadoop.hive.metastore.tools.MetastoreSchemaTool"


def metastore(stack: Stack) -> Server:
    return Server(
        name="metastore",
        address=f"thrift://{stack.ports.address('metastore')}",
        port_names=("metastore",),
        needs=("mysql",),
        command=_java(stack, "lambda_dl.LoopbackMetastore", stack.ports.bind, str(stack.ports["metastore"])),
        env=_env(stack),
        prepare=lambda: _prepare(stack),
        probe=lambda: _probe(stack),
        stop_limit_s=20,
    )


def _env(stack: Stack) -> dict[str, str]:
    """The schema tool looks for its SQL scripts under METASTORE_HOME."""
    return {"METASTORE_HOME": str(stack.layout.jars / "metastore-dist"), "JAVA_HOME": str(stack.layout.java_home)}


def _class_path(stack: Stack) -> str:
    layout = stack.layout
    shared = [str(jar) for name in FROM_PYSPARK for jar in sorted(layout.pyspark_jars.glob(f"{name}-*.jar"))]
    s3a = [str(jar) for jar in sorted(layout.spark_jars.glob("*.jar")) if not jar.name.startswith(("delta", "spark"))]
    first = [str(layout.conf / "metastore"), str(layout.jars / "launcher")]
    own = [f"{layout.jars / 'metastore'}/*", f"{layout.jars / 'metastore-dist' / 'lib'}/*"]
    return ":".join([*first, *own, *shared, *s3a])


def _java(stack: Stack, main: str, *args: str) -> tuple[str, ...]:
    return (str(stack.layout.java), *JVM, "-cp", _class_path(stack), main, *args)


def site(stack: Stack) -> str:
    """metastore-site.xml."""
    ports, secrets = stack.ports, stack.secrets
    settings = {
        "javax.jdo.option.ConnectionURL": (
            f"jdbc:mariadb://{ports.address('mysql')}/{names.METASTORE_DATABASE}?useMysqlMetadata=true&allowPublicKeyRetrieval=true"
        ),
        "javax.jdo.option.ConnectionDriverName": "org.mariadb.jdbc.Driver",
        "javax.jdo.option.ConnectionUserName": names.METASTORE_USER,
        "javax.jdo.option.ConnectionPassword": secrets["mysql_metastore_password"],
        # Their defaults are classes of Hive proper, which the standalone metastore does not ship
        "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
        "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
        "metastore.warehouse.dir": names.WAREHOUSE,
        "metastore.thrift.uris": f"thrift://{ports.address('metastore')}",
        "metastore.server.min.threads": "4",
        "metastore.server.max.threads": "100",
        "metastore.schema.verification": "true",
        "metastore.stats.autogather": "false",
        "fs.s3a.endpoint": ports.url("s3"),
        "fs.s3a.endpoint.region": names.S3_REGION,
        "fs.s3a.path.style.access": "true",
        "fs.s3a.access.key": secrets["s3_access_key"],
        "fs.s3a.secret.key": secrets["s3_secret_key"],
    }
    entries = "".join(f"<property><name>{k}</name><value>{escape(v)}</value></property>\n" for k, v in settings.items())
    return f'<?xml version="1.0"?>\n<configuration>\n{entries}</configuration>\n'


def _prepare(stack: Stack) -> None:
    folder = stack.layout.conf / "metastore"
    folder.mkdir(mode=0o700, exist_ok=True)
    write_private(folder / "metastore-site.xml", site(stack))
    if not has_schema(stack):
        _empty_database(stack)
        command = _java(stack, SCHEMA_TOOL, "-dbType", "mysql", "-initSchema")
        run_step("creating the metastore's tables", command, stack.layout.logs / "metastore-schema.log", _env(stack))


def _connect(stack: Stack) -> Connection[Cursor]:
    return mysql.connect(stack, names.METASTORE_USER, "mysql_metastore_password")


def has_schema(stack: Stack) -> bool:
    """Whether the schema tool has finished once: it writes the version last."""
    import pymysql

    with _connect(stack) as connection, connection.cursor() as cursor:
        try:
            return bool(cursor.execute(f"SELECT SCHEMA_VERSION FROM {names.METASTORE_DATABASE}.VERSION"))
        except pymysql.err.ProgrammingError:
            return False


def _empty_database(stack: Stack) -> None:
    """Throw away what a broken first start may have left; without a version there is nothing of value in it."""
    with _connect(stack) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {names.METASTORE_DATABASE}")
        cursor.execute(f"CREATE DATABASE {names.METASTORE_DATABASE} CHARACTER SET latin1")


def _probe(stack: Stack) -> None:
    from hmsclient import hmsclient

    with hmsclient.HMSClient(host=stack.ports.host("metastore"), port=stack.ports["metastore"]) as client:
        client.get_all_databases()
