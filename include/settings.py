"""Where the systems are and how to sign in to them: a typed view of environment variables.

The names are those of ``.local/stack.env``; on a cluster the DAGs derive the same names from Airflow connections.
A missing or malformed variable stops the program with one line that names it. It does not know what is stored where
(see ``locations``), and no secret of it is ever printed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class S3Settings:
    """An S3-compatible object store."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "S3Settings":
        """Read ``S3_ENDPOINT``, ``S3_ACCESS_KEY``, ``S3_SECRET_KEY`` and ``S3_REGION`` (default us-east-1)."""
        return cls(
            endpoint=require(environment, "S3_ENDPOINT"),
            access_key=require(environment, "S3_ACCESS_KEY"),
            secret_key=require(environment, "S3_SECRET_KEY"),
            region=environment.get("S3_REGION", "us-east-1"),
        )

    def delta_options(self) -> dict[str, str]:
        """Storage options for delta-rs (``deltalake``): conditional puts, so that many writers are safe."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            # Else an AWS_ENDPOINT_URL_S3 in the environment would win over these settings.
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_ALLOW_HTTP": "true" if self.endpoint.startswith("http://") else "false",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
            "conditional_put": "etag",
        }


@dataclass(frozen=True)
class KafkaSettings:
    """A Kafka cluster."""

    bootstrap: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "KafkaSettings":
        """Read ``KAFKA_BOOTSTRAP`` (``host:port[,host:port]``)."""
        return cls(bootstrap=require(environment, "KAFKA_BOOTSTRAP"))


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
