"""The session's configuration, and that a job dies with the task that started it."""

import os
import select
import subprocess
import sys
from pathlib import Path

from include.spark_jobs.session import (
    SHUFFLE_PARTITIONS,
    pack_code,
    parent_of,
    spark_conf,
    submit_arguments,
    unless_deployed,
)

ROOT = Path(__file__).resolve().parents[2]


def test_local_sessions_listen_on_loopback_only() -> None:
    local = spark_conf("http://127.0.0.1:1", "thrift://127.0.0.1:2", "local[2]")
    assert local["spark.driver.bindAddress"] == "127.0.0.1"
    assert local["spark.ui.enabled"] == "false"
    assert "spark.driver.bindAddress" not in spark_conf("http://s3:1", "thrift://m:2", "spark://master:7077")


def test_a_deployment_has_its_own_sizes_but_not_its_own_time_zone() -> None:
    conf = spark_conf("http://127.0.0.1:1", "thrift://127.0.0.1:2")
    said = {SHUFFLE_PARTITIONS: "200", "spark.sql.session.timeZone": "Europe/Berlin"}
    assert conf.keys() - unless_deployed(conf, said.__contains__).keys() == {SHUFFLE_PARTITIONS}
    assert unless_deployed({SHUFFLE_PARTITIONS: "1"}, said.__contains__), "the streaming job's is no size of a job's"


def test_no_configuration_holds_a_secret() -> None:
    names = " ".join(spark_conf("http://127.0.0.1:1", "thrift://127.0.0.1:2"))
    assert "secret" not in names
    assert "access.key" not in names


def test_jars_come_from_the_deployment() -> None:
    assert submit_arguments("/jars", "spark://m:7077", "1g") == (
        "--master spark://m:7077 --driver-memory 1g --driver-class-path /jars/* pyspark-shell"
    )
    assert "class-path" not in submit_arguments(None, "local[2]", "1g")


def test_executors_import_the_package_from_what_the_driver_sends(tmp_path: Path) -> None:
    pack_code(tmp_path / "code.zip")
    modules = "include.features.assemble", "include.spark_jobs.ingest_raw", "include.use_cases.flight_delay"
    program = f"import {', '.join(modules)}; print(include.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "code.zip")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tmp_path / "code.zip"))


def test_the_parent_of_a_process() -> None:
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) is None


#: Stands for spark-submit's JVM: starts the "driver", prints both ids, waits.
JVM = """
import subprocess, sys, os, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""
DRIVER = """
import time
from include.spark_jobs import session
session.WATCH_SECONDS = 0.05
session.watch_parent({"LAMBDA_DL_DIE_WITH_PARENT": "1"})
print("watching", flush=True)
time.sleep(60)
"""
TASK = """
import subprocess, sys, time
jvm = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(60)
"""


def test_a_killed_task_takes_its_jvm_and_driver_with_it() -> None:
    command = [sys.executable, "-c", TASK, JVM, DRIVER]
    task = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    pids = [int(pid) for pid in task.stdout.readline().split()]
    assert task.stdout.readline() == "watching\n"
    descriptors = [os.pidfd_open(pid) for pid in pids]
    task.kill()
    task.wait()
    for descriptor in descriptors:  # readable as soon as its process has ended
        assert select.select([descriptor], [], [], 30)[0]
        os.close(descriptor)
    task.stdout.close()
