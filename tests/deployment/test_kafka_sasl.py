"""A Kafka that asks for TLS and a password: both kinds of client against a real broker with an authority of its own."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.broadcast import broadcast
from include.metrics import consume
from include.settings import KafkaSettings
from local_stack.layout import layout_from
from tests.deployment.compose_file import ROOT

pytestmark = pytest.mark.drill
LIMIT_SECONDS = 300
USER, PASSWORD = "lambda", "correct-horse-battery"
TOPIC = "secured.topic"
MODULES = "org.apache.kafka.common.security"
#: Reads what is on the topic by Spark, and writes it back in capitals.
SPARK_JOB = """
from include.settings import KafkaSettings
from include.spark_jobs.preprocess_features import send
from include.spark_jobs.session import open_stream_session
spark = open_stream_session("secured")
kafka = KafkaSettings.from_environment()
rows = spark.read.format("kafka").options(**kafka.spark_options(), subscribe="{topic}").load()
send(rows.selectExpr("upper(CAST(value AS STRING)) AS value", "CAST(NULL AS STRING) AS key"), "{topic}", kafka)
"""


def certificates(folder: Path) -> tuple[Path, Path]:
    """An authority (its file) and a broker's key with the certificate that it signed (one file), both PEM."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)

    def sign(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey, ca: bool):  # type: ignore[no-untyped-def]
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return builder.add_extension(here, critical=False).sign(by, hashes.SHA256())

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    authority, broker = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private = broker.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ca_file, store = folder / "ca.pem", folder / "broker.pem"
    ca_file.write_bytes(sign("authority", authority, "authority", authority, True).public_bytes(pem))
    store.write_bytes(private + sign("broker", broker, "authority", authority, False).public_bytes(pem))
    return ca_file, store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def escaped(text: str) -> str:
    """For a Java properties file."""
    return text.replace("\\", "\\\\")


def quoted(text: str) -> str:
    """For a login module's configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A broker with one listener for clients: TLS, and SCRAM or PLAIN; ended afterwards."""
    folder = tmp_path_factory.mktemp("kafka")
    ca_file, store = certificates(folder)
    port, controller = free_port(), free_port()
    login = f"username={quoted(USER)} password={quoted(PASSWORD)}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{MODULES}.scram.ScramLoginModule required {login};",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{MODULES}.plain.PlainLoginModule required "
        f"{login} user_{USER}={quoted(PASSWORD)};",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file),
        "log.dirs": str(folder / "data"),
        "offsets.topic.replication.factor": "1",
    }
    file = folder / "server.properties"
    file.write_text("".join(f"{name}={escaped(value)}\n" for name, value in settings.items()))
    layout = layout_from({})
    java = (str(layout.java), "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{layout.jars / 'kafka'}/*")
    scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
    cluster = ("--cluster-id", "MkU3OEVBNTcwNTJENDM2Qk", "--add-scram", scram)
    subprocess.run([*java, "kafka.tools.StorageTool", "format", "-c", str(file), *cluster], check=True)
    with (folder / "log").open("wb") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(file)], stdout=log, stderr=log)
    given = KafkaSettings(f"127.0.0.1:{port}", "SASL_SSL", "SCRAM-SHA-512", USER, PASSWORD, str(ca_file))
    try:
        wait_for_topic(given, broker, folder / "log")
        yield given
    finally:
        broker.terminate()
        broker.wait(60)


def wait_for_topic(kafka: KafkaSettings, broker: subprocess.Popen[bytes], log: Path) -> None:
    """Until the broker has made the topic."""
    end, admin = time.monotonic() + LIMIT_SECONDS, AdminClient({**kafka.client(), "log_level": 0})
    while time.monotonic() < end and broker.poll() is None:
        made = admin.create_topics([NewTopic(TOPIC, 1, 1)])
        try:
            made[TOPIC].result(60)
            return
        except TimeoutError:
            continue
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
    raise AssertionError(log.read_text()[-3000:])


def values(kafka: KafkaSettings) -> list[bytes | None]:
    return [value for _, _, value in consume(kafka, TOPIC)]


def test_the_batch_layer_s_clients_sign_in(kafka: KafkaSettings) -> None:
    word = uuid.uuid4().hex
    assert broadcast(kafka, TOPIC, [(word, {"word": word})]) == 1
    found = [json.loads(value) for value in values(kafka) if value]
    assert {"word": word} in found


def test_another_mechanism_signs_in_too(kafka: KafkaSettings) -> None:
    plain = KafkaSettings(kafka.bootstrap, "SASL_SSL", "PLAIN", USER, PASSWORD, kafka.ca_file)
    assert values(plain) == values(kafka)


@pytest.mark.parametrize("wrong", [{"password": "guessed"}, {"ca_file": ""}])
def test_a_wrong_password_and_an_unknown_authority_are_refused(kafka: KafkaSettings, wrong: dict[str, str]) -> None:
    fields = {name: getattr(kafka, name) for name in ("bootstrap", "protocol", "mechanism", "username")}
    other = KafkaSettings(**{**fields, "password": PASSWORD, "ca_file": kafka.ca_file, **wrong})
    with pytest.raises(KafkaException):
        AdminClient({**other.client(), "log_level": 0}).list_topics(timeout=5)


def test_spark_reads_and_writes(kafka: KafkaSettings) -> None:
    word = uuid.uuid4().hex
    broadcast(kafka, TOPIC, [(word, {"word": word})])
    layout = layout_from({})
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAVA_HOME": str(layout.java_home),
        "SPARK_JARS_DIR": str(layout.spark_jars),
        "SPARK_MASTER": "local[1]",
        **{"S3_ENDPOINT": "http://127.0.0.1:9", "S3_ACCESS_KEY": "none", "S3_SECRET_KEY": "none"},
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "KAFKA_SECURITY_PROTOCOL": kafka.protocol,
        "KAFKA_SASL_MECHANISM": kafka.mechanism,
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CA": kafka.ca_file,
    }
    command = [sys.executable, "-c", SPARK_JOB.format(topic=TOPIC)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert PASSWORD not in done.stdout + done.stderr
    assert json.dumps({"word": word}).upper().replace(" ", "") in [
        (value or b"").decode().replace(" ", "") for value in values(kafka)
    ]
