"""The metastore, HiveServer2 and Spark as a deployment's settings name them: reached, asked, of a version that fits.

Spark is asked by a program of its own (``spark_program``), started as every job is: a session that never opens can
be ended then, and its last words read.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from include.doctor.finding import Finding, Trouble, host_and_port, reach
from include.settings import HiveSettings, require
from include.use_cases import chosen_use_case

METASTORE_SETTINGS = "METASTORE_URI (in Airflow the connection lambda_dl_metastore)"
HIVE_SETTINGS = "HIVE_HOST and HIVE_PORT (in Airflow the connection lambda_dl_hive)"
SPARK_SETTINGS = "SPARK_MASTER (in Airflow the connection lambda_dl_spark)"
SPARK_SECONDS = 240
THRIFT_SECONDS = 60
ANSWER = "LAMBDA_DL_DOCTOR "
#: What Spark says when something is wrong, what that means, and what to do; the first that is found counts.
SPARK_FAULTS = (
    (
        r"ClassNotFoundException: Class org\.apache\.hadoop\.fs\.s3a|ClassNotFoundException: io\.delta",
        "Spark lacks the jars of S3 or Delta Lake",
        "put the set spark of local_stack/jars.lock.json on the class path of driver and executors",
    ),
    (
        r"java\.io\.InvalidClassException|serialVersionUID",
        "driver and cluster run different versions of Spark",
        "install the version of requirements.txt on the cluster",
    ),
    (
        r"PYTHON_VERSION_MISMATCH|Python in worker has different version",
        "driver and executors run different versions of Python",
        "install the driver's on every worker at the same path",
    ),
    (
        r"ModuleNotFoundError: No module named '[^']+'",
        "an executor's Python lacks a package",
        "install requirements.txt on every worker",
    ),
    (
        r"Cannot run program",
        "an executor cannot start Python",
        "install Python on every worker at the driver's path",
    ),
    (
        r"SaslException|Authentication failed|Mismatched response|AuthenticationException",
        "the master does not accept this program's secret",
        "set spark.authenticate and spark.authenticate.secret to what the cluster has",
    ),
    (
        r"All masters are unresponsive|Failed to connect to master|Could not parse Master URL",
        "the master does not answer as one",
        f"start it, or correct {SPARK_SETTINGS}",
    ),
)


def check_metastore(environment: Mapping[str, str]) -> Iterator[Finding]:
    """It answers, in the protocol that Spark's client speaks."""
    from hmsclient import hmsclient
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.Thrift import TException
    from thrift.transport.TTransport import TBufferedTransport

    uri = require(environment, "METASTORE_URI")
    host, port = host_and_port(uri, f"correct {METASTORE_SETTINGS}")
    reach(host, port, f"start the metastore, or correct {METASTORE_SETTINGS}")
    try:
        with hmsclient.HMSClient(TBinaryProtocol(TBufferedTransport(_socket(host, port)))) as client:
            databases = client.get_all_databases()
            _ask_for_table(client)
    except (TException, OSError, EOFError) as error:
        raise explain_metastore(str(error) or type(error).__name__, uri) from error
    yield Finding(f"{uri} answers and knows {len(databases)} databases")


def _socket(host: str, port: int) -> Any:
    """A Thrift socket that does not wait for ever: what is no Thrift server may never answer."""
    from thrift.transport.TSocket import TSocket

    socket = TSocket(host, port)
    socket.setTimeout(THRIFT_SECONDS * 1000)
    return socket


def _ask_for_table(client: Any) -> None:
    from hmsclient.genthrift.hive_metastore.ttypes import NoSuchObjectException

    with contextlib.suppress(NoSuchObjectException):
        client.get_table("default", "doctor")


def explain_metastore(said: str, uri: str) -> Trouble:
    """What a metastore client's error means in words."""
    if "Invalid method name" in said:
        return Trouble(
            f"the metastore at {uri} speaks a newer protocol than Spark's client ({said})",
            "run Hive metastore 3.1: version 4 dropped calls that Spark makes",
        )
    return Trouble(
        f"what listens at {uri} does not answer as a metastore without SASL ({said})", f"correct {METASTORE_SETTINGS}"
    )


def check_hiveserver2(environment: Mapping[str, str]) -> Iterator[Finding]:
    """An analyst's statement is answered, by a Spark of this project's version."""
    from pyhive import hive
    from thrift.Thrift import TException
    from thrift_sasl import TSaslClientTransport

    door = HiveSettings.from_environment(environment)
    reach(door.host, door.port, f"start HiveServer2, or correct {HIVE_SETTINGS}")
    try:
        # As pyhive signs in where no password is asked for: any text will do
        plain = partial(hive.get_installed_sasl, door.host, "PLAIN", username=door.user, password=door.user)
        transport = TSaslClientTransport(plain, "PLAIN", _socket(door.host, door.port))
        with hive.connect(thrift_transport=transport) as connection:
            version = str(_asked(connection, "SELECT version()")[0][0])
            databases = {row[0] for row in _asked(connection, "SHOW DATABASES")}
    except (hive.Error, TException, OSError, EOFError) as error:
        raise Trouble(
            f"{door.host}:{door.port} does not answer as a HiveServer2 ({str(error)[:200]})", f"correct {HIVE_SETTINGS}"
        ) from error
    yield judged_version("HiveServer2's Spark", version, _own_spark())
    there = "is there" if door.database in databases else "is not there yet: the first ingest makes it"
    yield Finding(f"{door.user} is answered; database {door.database} {there}")


def _asked(connection: Any, statement: str) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(statement)
    return list(cursor.fetchall())


def _own_spark() -> str:
    import pyspark

    return str(pyspark.__version__)


def judged_version(what: str, found: str, own: str) -> Finding:
    """Whether the first two numbers of a version are those that this project was tested with."""
    if found.split(".")[:2] == own.split(".")[:2]:
        return Finding(f"{what} is {found.split()[0]}")
    return Finding(f"{what} is {found.split()[0]}, and this project runs {own}", f"install version {own} there")


def check_spark(environment: Mapping[str, str]) -> Iterator[Finding]:
    """A job of a few rows runs where jobs run: in Python on an executor, with the lake's keys."""
    master = environment.get("SPARK_MASTER") or "local[*]"
    if master.startswith("spark://"):
        for each in master.removeprefix("spark://").split(","):
            host, port = host_and_port(f"spark://{each}", f"correct {SPARK_SETTINGS}")
            reach(host, port, f"start the master, or correct {SPARK_SETTINGS}")
    code, said = _submitted({**environment, "LAMBDA_DL_USE_CASE": chosen_use_case(environment)})
    answer = re.search(rf"^{ANSWER}(.+)$", said, re.MULTILINE)
    if code == 0 and answer is not None:
        yield Finding(f"{master}: {answer[1]}")
        return
    raise explain_spark(code, said, master)


def _submitted(environment: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit code (None: out of time) and the output of the program that asks Spark."""
    command = [sys.executable, "-m", "include.doctor.spark_program"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=SPARK_SECONDS)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        said, _ = process.communicate()
        return None, said
    except BaseException:
        os.killpg(process.pid, 9)  # a session of its own: Ctrl-C does not reach it
        raise


def explain_spark(code: int | None, said: str, master: str) -> Trouble:
    """What the end of a Spark program means in words."""
    for pattern, what, do in SPARK_FAULTS:
        found = re.search(pattern, said)
        if found is not None:
            return Trouble(f"{what} ({found[0]})", do)
    if code is None or "has not accepted any resources" in said:
        return Trouble(
            f"no executor took the job within {SPARK_SECONDS} s at {master}",
            "look at the master's page: are there workers, with free cores and memory?",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return Trouble(
        f"a job at {master} ended with {code}: {lines[-1][:300] if lines else 'it said nothing'}",
        f"see {SPARK_SETTINGS}",
    )
