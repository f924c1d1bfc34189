"""Superset's settings. Addresses, folders and secrets come from the environment; a missing one stops start-up.

No Redis: SQL Lab's queries go to the worker through a broker of files, and their results come back as files. Knows
nothing about what the dashboards show.
"""

import os
from pathlib import Path
from typing import IO, Any

import msgpack
import pymysql
from cachelib.file import FileSystemCache
from cachelib.serializers import FileSystemSerializer
from sqlalchemy.dialects.mysql.base import MySQLDialect

pymysql.install_as_MySQLdb()


def _use_no_sequences(dialect: Any) -> None:
    """SQLAlchemy 1.4 takes MariaDB's sequences for usable and then writes them wrongly; auto-increment does."""
    initialize = dialect.initialize

    def without(self: Any, connection: Any) -> None:
        initialize(self, connection)
        self.supports_sequences = False

    dialect.initialize = without


_use_no_sequences(MySQLDialect)

#: The folder of the worker's queue and of the results of SQL Lab.
STATE = Path(os.environ["SUPERSET_STATE"])
#: How long the results of a query are kept, seconds.
RESULTS_KEPT_S = 7 * 24 * 3600


class MsgpackSerializer(FileSystemSerializer):
    """Entries of a file cache as MessagePack: they go from the worker to the web server, and a pickle may not."""

    def dump(self, value: Any, f: IO[bytes], protocol: int = 0) -> None:
        """Write one value: bytes, text, a number, or lists and maps of them."""
        f.write(msgpack.packb(value))

    def load(self, f: IO[bytes]) -> Any:
        """Read one value back."""
        return msgpack.unpackb(f.read())


class ResultFiles(FileSystemCache):
    """The results of asynchronous queries, one file each."""

    serializer = MsgpackSerializer()


class CeleryConfig:
    """The worker: one queue of files beside the results; the outcome of a query is in Superset's database."""

    broker_url = "filesystem://"
    broker_transport_options = {
        "data_folder_in": str(STATE / "queue"),
        "data_folder_out": str(STATE / "queue"),
        "control_folder": str(STATE / "control"),
        "polling_interval": 0.3,
    }
    broker_connection_retry_on_startup = True
    imports = ("superset.sql_lab",)
    task_ignore_result = True
    worker_prefetch_multiplier = 1
    worker_send_task_events = False
    task_serializer = "json"
    accept_content = ("json",)


CELERY_CONFIG = CeleryConfig
RESULTS_BACKEND = ResultFiles(str(STATE / "results"), threshold=500, default_timeout=RESULTS_KEPT_S, mode=0o600)

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
GUEST_TOKEN_JWT_SECRET = os.environ["SUPERSET_GUEST_SECRET"]
SQLALCHEMY_DATABASE_URI = os.environ["SUPERSET_METADATA_URI"]
# The worker asks again and again whether its query was stopped: it must see what the web server has written meanwhile.
SQLALCHEMY_ENGINE_OPTIONS = {"pool_pre_ping": True, "pool_recycle": 3600, "isolation_level": "READ COMMITTED"}
DATA_DIR = str(STATE)

# Charts of the archive take seconds, so one process keeps their data; each database says for how long.
DATA_CACHE_CONFIG = {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": 300, "CACHE_DEFAULT_TIMEOUT": 60}
CACHE_CONFIG = {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": 300, "CACHE_DEFAULT_TIMEOUT": 60}

SUPERSET_WEBSERVER_TIMEOUT = 300
SQLLAB_TIMEOUT = 60
SQLLAB_ASYNC_TIME_LIMIT_SEC = 3600
DB_POLL_INTERVAL_SECONDS = {"hive": 1}
SQL_MAX_ROW = 100_000

AUTH_USER_REGISTRATION = False
# Nothing is loaded from another host.
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'"],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": False,
}

APP_NAME = "lambda-dl"
THEME_DARK = None
