"""Spark's deployment on this machine: jars, addresses, who holds the S3 keys. Not what a job computes or how.

Two configuration folders: one for jobs (keys from the environment) and one for HiveServer2 (read-only keys).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_stack import names
from local_stack.ports import LOOPBACK
from local_stack.scala_build import hiveserver2_classes
from local_stack.secret_store import write_private
from local_stack.stack import Stack

#: Refuses commands that change something, and lets what is cancelled stop; in `scala/`.
FOR_ANALYSTS = "lambda_dl.ReadOnly,lambda_dl.Stoppable"

#: A job over so many days gets a JVM that is slower to begin with and faster later: over 107 days, with 0.3 million
#: facts, both took as long.
LONG_SPAN_DAYS = 100

LOG4J = """rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{HH:mm:ss} %p %c{1}: %m%n
logger.nativeloader.name=org.apache.hadoop.util.NativeCodeLoader
logger.nativeloader.level=error
logger.metrics.name=org.apache.hadoop.metrics2
logger.metrics.level=error
"""


def spark_master(stack: Stack) -> str:
    """Where jobs and HiveServer2 run: in their own process, or on the profile's workers."""
    master = f"spark://{stack.ports.address('spark-master')}"
    return master if stack.profile.spark_workers else names.SPARK_MASTER


def shared_secret(stack: Stack) -> dict[str, str]:
    """What everybody in Spark's cluster has to know to be talked to."""
    return {"spark.authenticate": "true", "spark.authenticate.secret": stack.secrets["spark_secret"]}


def cluster_conf(stack: Stack) -> dict[str, str]:
    """What a master and its workers have in common; what executors leave behind (logs, sent code) goes after a day."""
    return {
        **shared_secret(stack),
        "spark.master.rest.enabled": "false",
        "spark.worker.cleanup.enabled": "true",
        "spark.worker.cleanup.appDataTtl": str(24 * 60 * 60),
    }


def on_workers(stack: Stack) -> dict[str, str]:
    """What a program asks of the cluster: one small executor on each worker; nothing where there is no cluster."""
    if not stack.profile.spark_workers:
        return {}
    from include.spark_jobs.session import SHORT_LIVED_JVM

    return {
        **shared_secret(stack),
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.cores.max": str(stack.profile.spark_workers),
        "spark.executor.cores": "1",
        "spark.executor.memory": "768m",
        "spark.executor.extraJavaOptions": SHORT_LIVED_JVM,
    }


def deployment(stack: Stack) -> dict[str, str]:
    """What this machine decides for every Spark program; the rest a job's session decides itself."""
    return {
        "spark.master": spark_master(stack),
        **on_workers(stack),
        "spark.driver.extraClassPath": f"{stack.layout.spark_jars}/*",
        "spark.executor.extraClassPath": f"{stack.layout.spark_jars}/*",
        "spark.local.dir": str(stack.layout.data / "spark"),
        "spark.sql.warehouse.dir": names.WAREHOUSE,
    }


def for_jobs(stack: Stack) -> dict[str, str]:
    """Jobs of a minute on two cores."""
    from include.spark_jobs.session import SHORT_LIVED_JVM

    return {**deployment(stack), "spark.driver.extraJavaOptions": SHORT_LIVED_JVM}


def long_spans(executors: bool) -> dict[str, Any]:
    """The extra ``long_spans`` of Airflow's connection: what a job over many days has other than ``for_jobs`` says.

    ``executors``: they are this stack's, and as short-lived as the drivers.
    """
    from include.spark_jobs.session import LONG_LIVED_JVM

    processes = ("driver", "executor") if executors else ("driver",)
    return {
        "days": LONG_SPAN_DAYS,
        "conf": {f"spark.{process}.extraJavaOptions": LONG_LIVED_JVM for process in processes},
    }


def for_hiveserver2(stack: Stack) -> dict[str, str]:
    """A job's session settings, with keys that cannot write, no command that changes anything (the metastore trusts all
    who reach it), and answers that stay small in memory."""
    from include.spark_jobs.session import spark_conf

    metastore = f"thrift://{stack.ports.address('metastore')}"
    session = spark_conf(stack.ports.url("s3"), metastore, spark_master(stack), s3_region=names.S3_REGION)
    return {
        **session,
        **deployment(stack),
        "spark.sql.extensions": f"{session['spark.sql.extensions']},{FOR_ANALYSTS}",
        # A statement could else name any file by its path, and any setting or variable of the process as ${…}.
        "spark.sql.runSQLOnFiles": "false",
        "spark.sql.variable.substitute": "false",
        "spark.driver.extraClassPath": f"{stack.layout.spark_jars}/*:{hiveserver2_classes(stack.layout)}",
        "spark.driver.memory": "1g",
        "spark.hadoop.fs.s3a.access.key": stack.secrets["hive_s3_access_key"],
        "spark.hadoop.fs.s3a.secret.key": stack.secrets["hive_s3_secret_key"],
        "spark.hadoop.hive.server2.thrift.port": str(stack.ports["hiveserver2"]),
        "spark.hadoop.hive.server2.thrift.bind.host": stack.ports.bind,
        "spark.sql.hive.thriftServer.singleSession": "false",
        "spark.sql.thriftServer.incrementalCollect": "true",
    }


def render(settings: Mapping[str, str]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def write_conf(stack: Stack) -> None:
    """Both folders, as they must be for this stack."""
    (stack.layout.data / "spark").mkdir(mode=0o700, exist_ok=True)
    for folder, settings in (("spark", for_jobs(stack)), ("hiveserver2", for_hiveserver2(stack))):
        target = stack.layout.conf / folder
        target.mkdir(mode=0o700, exist_ok=True)
        write_private(target / "spark-defaults.conf", render(settings))
        (target / "log4j2.properties").write_text(LOG4J)
