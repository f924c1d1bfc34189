"""HiveServer2: Spark's Thrift Server, which reads the lake with keys that cannot write."""

from __future__ import annotations

from local_stack import names
from local_stack.environment import secretless_env
from local_stack.stack import Server, Stack

MAIN = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"


def hiveserver2(stack: Stack) -> Server:
    return Server(
        name="hiveserver2",
        address=stack.ports.address("hiveserver2"),
        port_names=("hiveserver2",),
        needs=("s3", "metastore", *stack.profile.workers_of_spark),
        command=(str(stack.layout.bin / "spark-submit"), "--class", MAIN, "spark-internal"),
        env=_env(stack),
        probe=lambda: _probe(stack),
        on_demand=True,
        start_limit_s=300,
        stop_as_group=True,
    )


def _env(stack: Stack) -> dict[str, str]:
    """The project's environment without any secret: its keys, which read, are in its configuration."""
    return {**secretless_env(stack), "SPARK_CONF_DIR": str(stack.layout.conf / "hiveserver2")}


def _probe(stack: Stack) -> None:
    from pyhive import hive

    connection = hive.connect(
        host=stack.ports.host("hiveserver2"), port=stack.ports["hiveserver2"], username=names.HIVE_USER
    )
    try:
        cursor = connection.cursor()
        cursor.execute("select 1")
        if cursor.fetchone() != (1,):
            raise ConnectionError("select 1 did not answer 1")
    finally:
        connection.close()
