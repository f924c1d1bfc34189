"""Each server of the running stack, asked through its own protocol, and what it must refuse."""

import ipaddress
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import psutil
import pymysql
import pytest
import requests
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, Producer
from hmsclient import hmsclient
from pyhive import hive

from local_stack import supervision
from local_stack.control import all_servers, probe_fault
from local_stack.environment import stack_env
from local_stack.names import BUCKETS, POOLS
from local_stack.servers import kafka, mysql
from local_stack.stack import Stack

pytestmark = pytest.mark.integration
LIMIT_S = 60
#: Each row of the first is compared with ten thousand million pairs.
ENDLESS = (
    "select count(*) from range(100000) a cross join range(100000) b cross join range(100000) c "
    "where a.id + b.id < -c.id"
)


def s3(stack: Stack, prefix: str | None) -> Any:
    """An S3 client with one of the keys, or anonymous."""
    secrets = stack.secrets
    config = Config(s3={"addressing_style": "path"}, signature_version=UNSIGNED if prefix is None else "s3v4")
    return boto3.session.Session().client(
        "s3",
        endpoint_url=stack.ports.url("s3"),
        region_name="us-east-1",
        aws_access_key_id=secrets[f"{prefix}_access_key"] if prefix else None,
        aws_secret_access_key=secrets[f"{prefix}_secret_key"] if prefix else None,
        config=config,
    )


def test_s3_keeps_what_the_batch_key_puts(running: Stack) -> None:
    client = s3(running, "s3")
    assert set(BUCKETS) <= {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    key = f"test/{uuid.uuid4()}"
    client.put_object(Bucket="lake", Key=key, Body=b"bytes")
    assert client.get_object(Bucket="lake", Key=key)["Body"].read() == b"bytes"
    client.delete_object(Bucket="lake", Key=key)


@pytest.mark.parametrize("prefix", [None, "hive_s3", "predictor_s3"])
def test_s3_refuses_writers_without_the_right(running: Stack, prefix: str | None) -> None:
    with pytest.raises(ClientError, match="AccessDenied|403"):
        s3(running, prefix).put_object(Bucket="lake", Key="test/refused", Body=b"bytes")


def test_s3_refuses_anonymous_readers_and_hive_outside_the_lake(running: Stack) -> None:
    s3(running, "hive_s3").list_objects_v2(Bucket="lake", MaxKeys=1)
    s3(running, "predictor_s3").list_objects_v2(Bucket="models", MaxKeys=1)
    for prefix, bucket in ((None, "lake"), ("hive_s3", "models"), ("predictor_s3", "landing")):
        with pytest.raises(ClientError, match="AccessDenied|403"):
            s3(running, prefix).list_objects_v2(Bucket=bucket, MaxKeys=1)


def test_kafka_delivers_what_was_produced_and_has_the_topics(running: Stack) -> None:
    from confluent_kafka.cimpl import NewTopic

    from tests.kafka_topics import make_topics

    bootstrap = {"bootstrap.servers": running.ports.address("kafka")}
    topic = f"test.{uuid.uuid4().hex}"
    admin = make_topics(bootstrap["bootstrap.servers"], [NewTopic(topic, 1, 1)])
    assert {t.name for t in kafka.topics(running)} <= set(admin.list_topics(timeout=10).topics)
    producer = Producer({**bootstrap, "enable.idempotence": True})
    producer.produce(topic, value=b"{}")
    assert producer.flush(30) == 0
    consumer = Consumer({**bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert message.value() == b"{}"
    admin.delete_topics([topic])[topic].result(30)


def test_kafka_keeps_each_topic_as_long_as_its_topic_says(running: Stack) -> None:
    from confluent_kafka.admin import ConfigResource

    admin = kafka._admin(running)
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in kafka.topics(running)]
    for topic, future in zip(kafka.topics(running), admin.describe_configs(resources).values(), strict=True):
        config = future.result(30)
        assert config["retention.ms"].value == ("-1" if topic.days is None else str(topic.days * 86_400_000))
        assert ("compact" in config["cleanup.policy"].value) == topic.compacted


def test_mysql_lets_analysts_read_and_never_write(running: Stack) -> None:
    with mysql.connect(running, "lambda_batch", "mysql_batch_password") as batch, batch.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE TABLE flight_delay.stack_test (x INT)")
    with mysql.connect(running, "analyst", "mysql_analyst_password") as analyst, analyst.cursor() as cursor:
        assert cursor.execute("SELECT * FROM flight_delay.stack_test") == 0
        for refused in ("INSERT INTO flight_delay.stack_test VALUES (1)", "DROP TABLE flight_delay.stack_test"):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(refused)
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("SELECT * FROM hive_metastore.VERSION")
    with mysql.connect(running, "lambda_batch", "mysql_batch_password") as batch, batch.cursor() as cursor:
        cursor.execute("DROP TABLE flight_delay.stack_test")


@pytest.mark.parametrize("user", ["root", "analyst", "lambda_batch", ""])
def test_mysql_knows_no_account_without_a_password(running: Stack, user: str) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        pymysql.connect(host="127.0.0.1", port=running.ports["mysql"], user=user, password="")


def test_metastore_answers_over_thrift(running: Stack) -> None:
    with hmsclient.HMSClient(host="127.0.0.1", port=running.ports["metastore"]) as client:
        assert "default" in client.get_all_databases()


def test_hiveserver2_answers_sql_and_cannot_write_the_lake(running: Stack) -> None:
    connection = hive.connect(host="127.0.0.1", port=running.ports["hiveserver2"], username="analyst")
    cursor = connection.cursor()
    cursor.execute("select 1 + 1")
    assert cursor.fetchall() == [(2,)]
    with pytest.raises(hive.OperationalError):
        cursor.execute("insert overwrite directory 's3a://lake/test/refused' using csv select 1")
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "create database analysts_own",
        "create view default.theirs as select 1 as n",
        "drop table if exists flight_delay.book",
        "drop view if exists flight_delay.champions",
        "drop database if exists flight_delay cascade",
        "create table default.theirs (n int) using delta",
        "select transform(1) using 'cat' as (line string)",
        "select reflect('java.lang.System', 'getenv', 'PATH')",
        "select 1 where try_reflect('java.lang.System', 'getenv', 'PATH') is null",
        "select from_xml('<a/>', 'a string', map('rowvalidationXSDPath', 'file:///etc/hostname'))",
        "select schema_of_xml('<a/>', map('rowValidationXSDPath', 'http://127.0.0.1:9/x.xsd'))",
        "select to_json(from_xml('<a/>', schema_of_xml('<a/>', map('rowValidationXSDPath', 'file:///etc/hostname'))))",
        "execute immediate 'drop table if exists flight_delay.book'",
        "set spark.sql.catalog.theirs=org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
        "set fs.theirs.impl=org.apache.hadoop.fs.LocalFileSystem",
        "set spark.sql.runSQLOnFiles=true",
        "set spark.sql.variable.substitute=true",
        "set spark.redaction.regex=nothing",
    ],
)
def test_hiveserver2_reads_the_lake_alone_and_changes_nothing(running: Stack, statement: str) -> None:
    connection = hive.connect(host="127.0.0.1", port=running.ports["hiveserver2"], username="analyst")
    cursor = connection.cursor()
    with pytest.raises(hive.OperationalError, match="is refused: this server only reads"):
        cursor.execute(statement)
    for harmless in ("show databases", "set spark.sql.shuffle.partitions=3", "explain select 1", "use default"):
        cursor.execute(harmless)
    connection.close()


@pytest.mark.parametrize(
    "table",
    [
        "text.`file://{folder}/secret`",
        "csv.`{folder}/secret` with (header 'true')",
        "text.`s3a://x/e/secret` with ('fs.s3a.impl'='org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme', "
        "'fs.s3a.impl.disable.cache'='true', 'fs.viewfs.mounttable.x.link./e'='file://{folder}')",
        "delta.`{folder}`",
    ],
)
def test_hiveserver2_knows_no_table_by_its_path(running: Stack, table: str, tmp_path: Path) -> None:
    """Not even the schema, which Spark would infer before any rule could refuse, and tell in its error."""
    (tmp_path / "secret").write_text(secret := f"hush-{uuid.uuid4()}")
    connection = hive.connect(host="127.0.0.1", port=running.ports["hiveserver2"], username="analyst")
    for statement in (f"select nosuch from {table}", f"select * from {table}"):
        with pytest.raises(hive.OperationalError) as refused:
            connection.cursor().execute(statement.format(folder=tmp_path))
        said = str(refused.value)
        assert "TABLE_OR_VIEW_NOT_FOUND" in said or "is refused" in said, said
        assert secret not in said
    connection.close()


@pytest.mark.parametrize("name", ["env:PATH", "spark.hadoop.fs.s3a.secret.key", "system:user.home"])
def test_no_statement_names_what_the_process_knows(running: Stack, name: str) -> None:
    connection = hive.connect(host="127.0.0.1", port=running.ports["hiveserver2"], username="analyst")
    cursor = connection.cursor()
    cursor.execute(f"select '${{{name}}}'")
    assert cursor.fetchall() == [(f"${{{name}}}",)]
    connection.close()


@pytest.mark.parametrize("setting", ["spark.sql.catalog.theirs", "spark.hadoop.fs.theirs.impl", "fs.theirs.impl"])
def test_no_session_brings_classes_to_load(running: Stack, setting: str) -> None:
    where = {"host": "127.0.0.1", "port": running.ports["hiveserver2"], "username": "analyst"}
    hive.connect(**where, configuration={"set:hiveconf:spark.sql.shuffle.partitions": "3"}).close()
    with pytest.raises(hive.OperationalError, match="is refused: this server only reads"):
        hive.connect(**where, configuration={f"set:hiveconf:{setting}": "org.example.Theirs"})


def test_a_cancelled_query_gives_hives_cores_back(running: Stack) -> None:
    connection = hive.connect(host="127.0.0.1", port=running.ports["hiveserver2"], username="analyst")
    cursor = connection.cursor()
    before = cpu_seconds(running, "hiveserver2")
    cursor.execute(ENDLESS, async_=True)
    busy = before + 10
    supervision.wait_for(
        lambda: cpu_seconds(running, "hiveserver2") > busy, LIMIT_S, "the query's first tasks", running
    )
    cursor.cancel()
    after = connection.cursor()
    after.execute("select count(*) from range(0, 10, 1, 2)", async_=True)
    finished = hive.ttypes.TOperationState.FINISHED_STATE
    supervision.wait_for(lambda: after.poll().operationState == finished, LIMIT_S, "the next query", running)
    assert after.fetchall() == [(10,)]
    connection.close()


def cpu_seconds(stack: Stack, server: str) -> float:
    """What a server's processes have computed so far."""
    _, pid = supervision.process_states(stack)[server]
    root = psutil.Process(pid)
    return sum(process.cpu_times().user for process in (root, *root.children(recursive=True)))


def test_airflow_is_healthy_asks_for_a_password_and_has_the_pools(running: Stack) -> None:
    url, env = running.ports.url("airflow-api"), stack_env(running)
    health = requests.get(f"{url}/api/v2/monitor/health", timeout=LIMIT_S).json()
    assert {part["status"] for part in health.values()} == {"healthy"}
    assert requests.get(f"{url}/api/v2/pools", timeout=LIMIT_S).status_code == 401
    login = {"username": env["AIRFLOW_USER"], "password": env["AIRFLOW_PASSWORD"]}
    token = requests.post(f"{url}/auth/token", json=login, timeout=LIMIT_S).json()["access_token"]
    answer = requests.get(f"{url}/api/v2/pools", headers={"Authorization": f"Bearer {token}"}, timeout=LIMIT_S).json()
    assert set(POOLS) <= {pool["name"] for pool in answer["pools"]}


def test_ray_runs_nothing_without_its_token(running: Stack) -> None:
    url = f"{running.ports.url('ray-dashboard')}/api/jobs/"
    assert requests.get(url, timeout=LIMIT_S).status_code == 401
    token = {"Authorization": f"Bearer {running.secrets['ray_auth_token']}"}
    assert requests.get(url, headers=token, timeout=LIMIT_S).status_code == 200


def listening(stack: Stack) -> list[tuple[str, int, str]]:
    """Every address that a process of the stack listens on."""
    found = []
    for name, (_, pid) in supervision.process_states(stack).items():
        root = [psutil.Process(pid)] if pid else []
        family = root + [child for process in root for child in process.children(recursive=True)]
        for process in family:
            try:
                sockets = process.net_connections(kind="tcp")
            except psutil.Error:
                continue
            found += [(name, c.laddr.port, c.laddr.ip) for c in sockets if c.status == psutil.CONN_LISTEN]
    return found


def test_nothing_listens_beyond_loopback(running: Stack) -> None:
    sockets = listening(running)
    assert {"s3", "kafka", "mysql", "metastore", "airflow-api", "ray"} <= {name for name, _, _ in sockets}
    open_to_others = [entry for entry in sockets if not is_loopback(entry[2])]
    assert open_to_others == []


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def test_a_server_that_dies_is_started_again(running: Stack) -> None:
    server = next(s for s in all_servers(running) if s.name == "metastore")
    _, pid = supervision.process_states(running)[server.name]
    psutil.Process(pid).kill()
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        _, now = supervision.process_states(running)[server.name]
        if now not in (0, pid) and probe_fault(server) is None:
            return
        time.sleep(0.5)
    pytest.fail("the metastore did not come back")


def test_no_secret_shows_in_the_process_list(running: Stack) -> None:
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    public = {"kafka_cluster_id"}
    assert not [name for name, value in running.secrets.items() if name not in public and value in listed]


def test_a_second_stack_on_the_same_ports_is_told_so(running: Stack) -> None:
    with socket.socket() as probe:
        probe.settimeout(5)
        probe.connect(("127.0.0.1", running.ports["kafka"]))
    from local_stack.faults import StackError
    from local_stack.ports import refuse_taken

    with pytest.raises(StackError, match="LAMBDA_DL_PORT_BASE"):
        refuse_taken(running.ports, ["kafka"])
