"""The generated secrets of one stack: made on first start, kept in one file that only its owner reads.

No default password exists: each is random. Knows nothing about who uses which.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
import uuid
from pathlib import Path

from local_stack.faults import StackError

NAMES = (
    "airflow_password",
    "airflow_api_secret",
    "airflow_jwt_secret",
    "predictor_token",
    "s3_access_key",
    "s3_secret_key",
    "hive_s3_access_key",
    "hive_s3_secret_key",
    "predictor_s3_access_key",
    "predictor_s3_secret_key",
    "mysql_root_password",
    "mysql_metastore_password",
    "mysql_batch_password",
    "mysql_analyst_password",
    "ray_auth_token",
    "spark_secret",
    "mysql_superset_password",
    "superset_password",
    "superset_analyst_password",
    "superset_secret_key",
    "superset_guest_secret",
)
#: With those that need a form of their own.
ALL_NAMES = (*NAMES, "airflow_fernet_key", "kafka_cluster_id")


def generate(name: str) -> str:
    """A new random value, in the form that its user needs."""
    if name == "airflow_fernet_key":
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    if name == "kafka_cluster_id":
        value = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        return value.replace("-", "A", 1) if value.startswith("-") else value  # else it looks like an option
    if name.endswith("access_key"):
        return secrets.token_hex(10).upper()  # S3 clients expect letters and digits
    return secrets.token_urlsafe(32)


def load_or_create(path: Path) -> dict[str, str]:
    """The secrets of this stack; those that are missing are generated and kept."""
    known: dict[str, str] = _read(path)
    missing = [name for name in ALL_NAMES if not known.get(name)]
    if missing:
        known |= {name: generate(name) for name in missing}
        write_private(path, json.dumps(known, indent=1) + "\n")
    return known


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError:
        raise StackError(f"{path} cannot be read as JSON", "restore it; the servers' data is bound to it") from None


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file in one step; nobody but its owner can open it at any moment.

    Each call writes under a name of its own: of two at once one comes last, and neither takes the other's half.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(descriptor, mode)
            stream.write(text)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
