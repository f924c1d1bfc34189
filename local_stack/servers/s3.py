"""S3: SeaweedFS in one process, with three identities and the project's buckets.

The batch key may do everything; HiveServer2's may read the lake; the predictor's may read the lake and the models.
"""

from __future__ import annotations

import json
from typing import Any

from local_stack.names import BUCKETS, S3_REGION
from local_stack.ports import LOOPBACK
from local_stack.secret_store import write_private
from local_stack.stack import Server, Stack


def s3(stack: Stack) -> Server:
    ports = stack.ports
    return Server(
        name="s3",
        address=ports.url("s3"),
        port_names=("s3", "s3-master", "s3-filer", "s3-volume"),
        command=_command(stack),
        prepare=lambda: _prepare(stack),
        probe=lambda: _probe(stack),
        settle=lambda: _make_buckets(stack),
        stop_limit_s=40,
    )


def _command(stack: Stack) -> tuple[str, ...]:
    ports, layout = stack.ports, stack.layout
    return (
        str(layout.bin / "weed"),
        "mini",
        f"-dir={layout.data / 's3'}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-s3.port={ports['s3']}",
        f"-s3.config={layout.conf / 's3.json'}",
        f"-master.port={ports['s3-master']}",
        f"-filer.port={ports['s3-filer']}",
        f"-volume.port={ports['s3-volume']}",
        f"-filer.localSocket={stack.short_state() / 'run' / 'filer.sock'}",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    )


def identities(secrets: dict[str, str]) -> dict[str, Any]:
    """SeaweedFS's list of who may do what."""
    return {
        "identities": [
            _identity("batch", secrets, "s3", ["Admin", "Read", "Write", "List", "Tagging"]),
            _identity("hive", secrets, "hive_s3", ["Read:lake", "List:lake"]),
            _identity("predictor", secrets, "predictor_s3", ["Read:models", "List:models", "Read:lake", "List:lake"]),
        ]
    }


def _identity(name: str, secrets: dict[str, str], prefix: str, actions: list[str]) -> dict[str, Any]:
    credentials = {"accessKey": secrets[f"{prefix}_access_key"], "secretKey": secrets[f"{prefix}_secret_key"]}
    return {"name": name, "credentials": [credentials], "actions": actions}


def _prepare(stack: Stack) -> None:
    (stack.layout.data / "s3").mkdir(mode=0o700, exist_ok=True)
    write_private(stack.layout.conf / "s3.json", json.dumps(identities(dict(stack.secrets)), indent=1))


def client(stack: Stack) -> Any:
    """An S3 client with the batch key."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=stack.ports.url("s3"),
        region_name=S3_REGION,
        aws_access_key_id=stack.secrets["s3_access_key"],
        aws_secret_access_key=stack.secrets["s3_secret_key"],
        config=Config(
            s3={"addressing_style": "path"}, connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}
        ),
    )


def _probe(stack: Stack) -> None:
    client(stack).list_buckets()


def _make_buckets(stack: Stack) -> None:
    connection = client(stack)
    present = {bucket["Name"] for bucket in connection.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in present:
            connection.create_bucket(Bucket=name)
