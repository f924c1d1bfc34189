"""Where the systems are and how to sign in to them: a typed view of environment variables.

The names are those of ``.local/stack.env``; on a cluster the DAGs derive the same names from Airflow connections.
A missing or malformed variable stops the program with one line that names it. It does not know what is stored where
(see ``locations``), and no secret of it is ever printed.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROLE = "role"
KAFKA_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
#: How one signs in to Kafka by name and password, and the Java class that does it, below Kafka's security package.
LOGIN_MODULES: Mapping[str, str] = {
    "SCRAM-SHA-512": "scram.ScramLoginModule",
    "SCRAM-SHA-256": "scram.ScramLoginModule",
    "PLAIN": "plain.PlainLoginModule",
}


class SettingError(ValueError):
    """An environment variable is missing or malformed; the message names it and says what to do."""


def require(environment: Mapping[str, str], name: str) -> str:
    """Return the variable called ``name``; raises ``SettingError`` if it is unset or empty."""
    value = environment.get(name, "")
    if not value:
        raise SettingError(f"setting {name} is missing: source .local/stack.env or set it in the environment")
    return value


def require_port(environment: Mapping[str, str], name: str) -> int:
    """Return the variable called ``name`` as a TCP port; raises ``SettingError`` if it is none."""
    text = require(environment, name)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SettingError(f"setting {name} is {text!r}, which is not a port (1 to 65535)")
    return int(text)


def choice(environment: Mapping[str, str], name: str, allowed: Sequence[str]) -> str:
    """Return the variable called ``name``, the first of ``allowed`` if unset; raises ``SettingError`` for another."""
    value = environment.get(name) or allowed[0]
    if value not in allowed:
        raise SettingError(f"setting {name} is {value!r}, not one of {', '.join(allowed)}")
    return value


@dataclass(frozen=True)
class S3Settings:
    """An S3-compatible object store. Without keys the machine's role signs in (an instance, a pod, a container)."""

    endpoint: str
    access_key: str | None = field(repr=False)
    secret_key: str | None = field(repr=False)
    region: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "S3Settings":
        """Read ``S3_ENDPOINT``, ``S3_ACCESS_KEY``, ``S3_SECRET_KEY`` and ``S3_REGION`` (default us-east-1).

        With ``S3_CREDENTIALS=role`` (default ``keys``) no key is read.
        """
        by_role = choice(environment, "S3_CREDENTIALS", ("keys", ROLE)) == ROLE
        return cls(
            endpoint=require(environment, "S3_ENDPOINT"),
            access_key=None if by_role else require(environment, "S3_ACCESS_KEY"),
            secret_key=None if by_role else require(environment, "S3_SECRET_KEY"),
            region=environment.get("S3_REGION", "us-east-1"),
        )

    @property
    def keys(self) -> tuple[str, str] | None:
        """Access and secret key, or none where a role signs in."""
        return (self.access_key, self.secret_key) if self.access_key and self.secret_key else None

    def delta_options(self) -> dict[str, str]:
        """Storage options for delta-rs (``deltalake``): conditional puts, so that many writers are safe."""
        signing = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), self.keys or (), strict=False))
        return {
            **signing,
            "AWS_ENDPOINT_URL": self.endpoint,
            # Else an AWS_ENDPOINT_URL_S3 in the environment would win over these settings.
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ALLOW_HTTP": "true" if self.endpoint.startswith("http://") else "false",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
            "conditional_put": "etag",
        }


#: What a consumer calls its group (the client asks for one) that neither joins it nor commits to it.
READS_GROUP = "lambda_dl.reads"


@dataclass(frozen=True)
class KafkaSettings:
    """A Kafka cluster, how it is talked to and who signs in; ``ca_file`` holds the authorities (PEM) to trust."""

    bootstrap: str
    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "KafkaSettings":
        """Read ``KAFKA_BOOTSTRAP`` (``host:port[,host:port]``) and, for a cluster that asks for more than its address,
        ``KAFKA_SECURITY_PROTOCOL``, ``KAFKA_SASL_MECHANISM``, ``KAFKA_SASL_USERNAME``, ``KAFKA_SASL_PASSWORD`` and
        ``KAFKA_SSL_CA`` (a file; the system's authorities if unset). Raises ``SettingError`` naming what is wrong.
        """
        protocol = choice(environment, "KAFKA_SECURITY_PROTOCOL", KAFKA_PROTOCOLS)
        signing = protocol.startswith("SASL_")
        return cls(
            bootstrap=require(environment, "KAFKA_BOOTSTRAP"),
            protocol=protocol,
            mechanism=choice(environment, "KAFKA_SASL_MECHANISM", tuple(LOGIN_MODULES)) if signing else "",
            username=require(environment, "KAFKA_SASL_USERNAME") if signing else "",
            password=require(environment, "KAFKA_SASL_PASSWORD") if signing else "",
            ca_file=environment.get("KAFKA_SSL_CA", "") if protocol.endswith("SSL") else "",
        )

    def client(self) -> dict[str, Any]:
        """What every librdkafka client (``confluent_kafka``) is made with."""
        settings = {"bootstrap.servers": self.bootstrap}
        if self.protocol != "PLAINTEXT":
            settings["security.protocol"] = self.protocol
        if self.mechanism:
            settings |= {"sasl.mechanism": self.mechanism, "sasl.username": self.username}
            settings |= {"sasl.password": self.password}
        if self.ca_file:
            settings["ssl.ca.location"] = self.ca_file
        return dict(settings)

    def spark_options(self) -> dict[str, str]:
        """The same for Spark's reader and writer, whose client is Kafka's own in Java."""
        settings = {"bootstrap.servers": self.bootstrap}
        if self.protocol != "PLAINTEXT":
            settings["security.protocol"] = self.protocol
        if self.mechanism:
            module = f"org.apache.kafka.common.security.{LOGIN_MODULES[self.mechanism]}"
            login = f"{module} required username={_quoted(self.username)} password={_quoted(self.password)};"
            settings |= {"sasl.mechanism": self.mechanism, "sasl.jaas.config": login}
        if self.ca_file:
            settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.ca_file}
        return {f"kafka.{name}": value for name, value in settings.items()}


def _quoted(text: str) -> str:
    """A value in the configuration of a Java login module."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class MysqlSettings:
    """The short-term store, with the account of the batch layer (not the analysts')."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "MysqlSettings":
        """Read ``MYSQL_HOST``, ``MYSQL_PORT``, ``MYSQL_DATABASE``, ``MYSQL_USER`` and ``MYSQL_PASSWORD``."""
        return cls(
            host=require(environment, "MYSQL_HOST"),
            port=require_port(environment, "MYSQL_PORT"),
            database=require(environment, "MYSQL_DATABASE"),
            user=require(environment, "MYSQL_USER"),
            password=require(environment, "MYSQL_PASSWORD"),
        )


@dataclass(frozen=True)
class HiveSettings:
    """HiveServer2, for reading back through the analysts' door."""

    host: str
    port: int
    user: str
    database: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "HiveSettings":
        """Read ``HIVE_HOST``, ``HIVE_PORT``, ``HIVE_USER`` and ``HIVE_DATABASE``."""
        return cls(
            host=require(environment, "HIVE_HOST"),
            port=require_port(environment, "HIVE_PORT"),
            user=require(environment, "HIVE_USER"),
            database=require(environment, "HIVE_DATABASE"),
        )
