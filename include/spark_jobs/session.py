"""The Spark sessions that jobs open: for batch Delta tables and the Hive metastore, for streaming Kafka alone; S3, UTC.

It knows how this project configures Spark and how a job dies together with the task that started it. It does not know
what a job computes. Jars come from the deployment (``SPARK_JARS_DIR``, or spark-defaults); S3 keys come from the
environment and go into the running JVM, never onto a command line. Where executors are processes of their own they get
this package from the driver.
"""

import argparse
import atexit
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from include.settings import S3Settings, require

log = logging.getLogger(__name__)

DIE_WITH_PARENT = "LAMBDA_DL_DIE_WITH_PARENT"
LOOPBACK = "127.0.0.1"
CODE_ARCHIVE = "lambda_dl_code.zip"
WATCH_SECONDS = 1.0
SHUFFLE_PARTITIONS = "spark.sql.shuffle.partitions"
BY_KEYS = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
BY_ROLE = (
    "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider,"
    "org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider"
)
#: A job of a minute does not live long enough for the optimising compiler to pay: 40 % less CPU for a session here.
#: Without it the JVM keeps only 48 MiB for compiled code: Spark's generated classes fill that, and whenever they do the
#: whole heap is collected.
SHORT_LIVED_JVM = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"
#: A job of many minutes does: three million facts are preprocessed in 60 % of the time. What tasks sort and keep (up to
#: 0.6 of the heap) and what a session holds anyway fit into four fifths of a GiB together: into Java's two thirds they
#: do not, and then every collection becomes one of the whole heap.
LONG_LIVED_JVM = "-XX:+UseSerialGC -XX:NewRatio=4"
#: What suits jobs of a minute on two cores and a GiB of heap. What a deployment says instead, wins.
SIZES: Mapping[str, str] = {
    SHUFFLE_PARTITIONS: "4",
    # Spark goes by compressed bytes, of files and of shuffles: 10 MB of them, its default, are ten times as many in
    # memory, beside what tasks sort, and cannot be spilled.
    "spark.sql.autoBroadcastJoinThreshold": "2MB",
    # 64 MB of a shuffle, its default, are some 300 in memory: more than a task of two in a GiB of heap can sort.
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "16MB",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
}


def spark_conf(
    s3_endpoint: str,
    metastore_uri: str,
    master: str = "local[*]",
    s3_provider: str = BY_KEYS,
    s3_region: str = "us-east-1",
) -> dict[str, str]:
    """The configuration of every session, without secrets; in local mode nothing listens beyond loopback."""
    return {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.hive.metastore.uris": metastore_uri,
        "spark.sql.adaptive.enabled": "true",
        # What a job keeps it reads a few times and drops: to find each column's best coding costs more than it saves.
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        **SIZES,
        **_session_conf(master),
        **_s3_conf(s3_endpoint, s3_provider, s3_region),
        **_delta_defaults(),
    }


def _session_conf(master: str) -> dict[str, str]:
    """What sessions of every kind have in common: UTC, this Python, no page of their own, loopback in local mode."""
    return {
        "spark.sql.session.timeZone": "UTC",
        # Of a field that occurs twice in a message the last value counts, as everywhere else
        "spark.sql.variant.allowDuplicateKeys": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.pyspark.python": executor_python(),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **({"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK} if master.startswith("local") else {}),
    }


def executor_python(environment: Mapping[str, str] = os.environ) -> str:
    """The Python of the executors: at the path of this one, unless ``LAMBDA_DL_EXECUTOR_PYTHON`` names another."""
    return environment.get("LAMBDA_DL_EXECUTOR_PYTHON") or sys.executable


def s3_provider(s3: S3Settings) -> str:
    """The classes that sign requests to S3: with keys, or as the role of the pod, container or instance."""
    return BY_KEYS if s3.keys else BY_ROLE


def _s3_conf(endpoint: str, provider: str, region: str) -> dict[str, str]:
    """How s3a reaches an S3-compatible store; keys are set later, in the running JVM.

    Not ``delta.enableFastS3AListFrom``: with it each table's log would be listed from where it is needed, but Delta 4.4
    calls a method that Hadoop 3.5 has changed, and no table can be opened (``NoSuchMethodError``).
    """
    return {
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": region,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https://")).lower(),
        "spark.hadoop.fs.s3a.aws.credentials.provider": provider,
        "spark.hadoop.fs.s3a.fast.upload.buffer": "bytebuffer",
        "spark.hadoop.fs.s3a.connection.maximum": "64",
    }


def _delta_defaults() -> dict[str, str]:
    """Table features that a new table must not have, so that delta-rs can read and write it too."""
    prefix = "spark.databricks.delta.properties.defaults."
    return {f"{prefix}{name.removeprefix('delta.')}": value for name, value in DELTA_PROPERTIES.items()}


#: Micro-batches of some dozen rows: planning, not computing, is what costs, and an adaptive plan is planned twice.
STREAM_CONF: Mapping[str, str] = {
    "spark.sql.catalogImplementation": "in-memory",
    # Each further one costs milliseconds a batch.
    SHUFFLE_PARTITIONS: "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.streaming.minBatchesToRetain": "10",
    # How often the facts query asks Kafka for news when there is none: Spark's 10 ms keeps a core busy on an idle day.
    "spark.sql.streaming.pollingDelay": "100ms",
}

#: Properties of every table: what delta-rs does not implement stays off.
DELTA_PROPERTIES: Mapping[str, str] = {
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
    "delta.enableRowTracking": "false",
    "delta.checkpointPolicy": "classic",
    # A version that a bundle pins must be there to open for as long as the bundle is (see include.maintenance).
    "delta.logRetentionDuration": "interval 3650 days",
}


def submit_arguments(jars_dir: str | None, master: str, memory: str) -> str:
    """Arguments for the JVM that plain ``python job.py`` starts (under spark-submit the deployment gives them)."""
    jars = f"--driver-class-path {jars_dir}/* " if jars_dir else ""
    java = f"--driver-java-options '{SHORT_LIVED_JVM}' " if master.startswith("local") else ""
    return f"--master {master} --driver-memory {memory} {java}{jars}pyspark-shell"


def _default_jars_dir() -> str | None:
    """The embedded stack's Spark jars beside this checkout, if they are there."""
    folder = Path(__file__).resolve().parents[2] / ".local" / "jars" / "spark"
    return str(folder) if folder.is_dir() else None


def _prepare_plain_python(environment: Mapping[str, str]) -> None:
    """Tell pyspark how to start its JVM when no spark-submit has started one."""
    if "PYSPARK_GATEWAY_PORT" in environment or "PYSPARK_SUBMIT_ARGS" in environment:
        return
    jars_dir = environment.get("SPARK_JARS_DIR") or _default_jars_dir()
    master = environment.get("SPARK_MASTER", "local[*]")
    memory = environment.get("SPARK_DRIVER_MEMORY", "1536m")
    os.environ["PYSPARK_SUBMIT_ARGS"] = submit_arguments(jars_dir, master, memory)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", LOOPBACK)


def open_session(job_name: str, environment: Mapping[str, str] = os.environ) -> SparkSession:
    """Open (or return) the session of this job; raises ``SettingError`` naming a missing setting."""
    s3 = S3Settings.from_environment(environment)
    metastore_uri = require(environment, "METASTORE_URI")
    builder = SparkSession.builder.appName(job_name).enableHiveSupport()
    return _opened(
        builder,
        environment,
        s3,
        lambda master: spark_conf(s3.endpoint, metastore_uri, master, s3_provider(s3), s3.region),
    )


def open_stream_session(job_name: str, environment: Mapping[str, str] = os.environ) -> SparkSession:
    """Open the session of a streaming job: Kafka in, Kafka out, no tables; raises ``SettingError``."""
    s3 = S3Settings.from_environment(environment)
    builder = SparkSession.builder.appName(job_name)
    return _opened(
        builder,
        environment,
        s3,
        lambda master: {**_session_conf(master), **_s3_conf(s3.endpoint, s3_provider(s3), s3.region), **STREAM_CONF},
    )


def _opened(
    builder: SparkSession.Builder,
    environment: Mapping[str, str],
    s3: S3Settings,
    conf: Callable[[str], Mapping[str, str]],
) -> SparkSession:
    """A session with what ``conf`` says for the master at hand, but for sizes of the deployment's own; with S3 keys."""
    os.environ["PYSPARK_PYTHON"] = executor_python(environment)
    _prepare_plain_python(environment)
    SparkContext._ensure_initialized()
    deployed = SparkConf()
    master = str(deployed.get("spark.master", "local[*]"))
    for name, value in unless_deployed(conf(master), deployed.contains).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _give_keys(spark, s3)
    if not master.startswith("local"):
        _give_code(spark)
    return spark


def unless_deployed(conf: Mapping[str, str], deployed: Callable[[str], bool]) -> dict[str, str]:
    """``conf`` without those ``SIZES`` that the deployment has said itself."""
    return {name: value for name, value in conf.items() if not (SIZES.get(name) == value and deployed(name))}


def _give_code(spark: SparkSession) -> None:
    """Send this package to the executors: what runs there is the driver's code, whatever is installed there."""
    if any(name.endswith(f"/{CODE_ARCHIVE}") for name in spark.sparkContext.listFiles):
        return  # this session has been opened before
    folder = tempfile.mkdtemp(prefix="lambda-dl-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = Path(folder) / CODE_ARCHIVE
    pack_code(archive)
    spark.sparkContext.addPyFile(str(archive))


def pack_code(archive: Path) -> None:
    """Write the package that this module is in as an archive that Python imports from."""
    package = Path(__file__).resolve().parents[1]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(package.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                target.write(path, path.relative_to(package.parent))


def _give_keys(spark: SparkSession, s3: S3Settings) -> None:
    """Put the S3 keys into the JVM's Hadoop configuration; there they reach executors but no argument list."""
    if s3.keys is None:
        return
    jsc = spark.sparkContext._jsc
    assert jsc is not None
    hadoop = jsc.sc().hadoopConfiguration()
    for name, value in zip(("access", "secret"), s3.keys, strict=True):
        hadoop.set(f"fs.s3a.{name}.key", value)


def job_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The arguments of a job over days: ``use_case``, ``first`` and ``last`` (dates, both included), ``run_id``."""
    return span_parser(description).parse_args(argv)


def span_parser(description: str | None) -> argparse.ArgumentParser:
    """``job_arguments`` for a job that adds arguments of its own."""
    parser = _run_parser(description)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True)
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True)
    return parser


def run_arguments(argv: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    """The arguments of a job that chooses its days itself: ``use_case`` and ``run_id``."""
    return _run_parser(description).parse_args(argv)


def _run_parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--run-id", required=True)
    return parser


def begin_job() -> None:
    """What every job's ``main`` does first: logging and the watch on the parent."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stdout)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    watch_parent()


def start_job(job_name: str, opened: Callable[[str], SparkSession] = open_session) -> SparkSession:
    """Begin a job and open its session."""
    begin_job()
    return open_job_session(job_name, opened)


def open_job_session(job_name: str, opened: Callable[[str], SparkSession] = open_session) -> SparkSession:
    """The session of a job that has begun; the log says how long it took."""
    started = time.monotonic()
    spark = opened(job_name)
    log.info("%s: Spark %s session open after %.1f s", job_name, spark.version, time.monotonic() - started)
    return spark


def parent_of(pid: int) -> int | None:
    """The parent of a process by Linux' ``/proc``, or ``None`` when the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name is in parentheses and may hold spaces: the parent is the second word behind the last one.
    return int(stat.rpartition(")")[2].split()[1])


def watch_parent(environment: Mapping[str, str] = os.environ) -> threading.Thread | None:
    """Die together with the Airflow task, when ``LAMBDA_DL_DIE_WITH_PARENT=1``.

    The chain is task -> spark-submit's JVM -> this process. A killed task leaves its JVM to another parent; the JVM is
    killed then, so that no second driver ever writes to the tables of a task that runs again.
    """
    if environment.get(DIE_WITH_PARENT) != "1":
        return None
    jvm = os.getppid()
    task = parent_of(jvm)
    thread = threading.Thread(target=_watch, args=(jvm, task), name="watch-parent", daemon=True)
    thread.start()
    return thread


def _watch(jvm: int, task: int | None) -> None:
    while os.getppid() == jvm and parent_of(jvm) == task:
        time.sleep(WATCH_SECONDS)
    log.error("the task that started this job is gone (was process %s): the job ends with it", task)
    if os.getppid() == jvm:
        os.kill(jvm, 9)
    os._exit(70)
