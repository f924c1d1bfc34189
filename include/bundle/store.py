"""The few object-store operations that bundles, searches, the ledger and the stream's journal need.

Get, (conditional) put, list, delete. Two implementations of one protocol: any S3, and a local directory (a stream's
checkpoint on one machine, unit tests, offline looks into a bundle). It does not know what the objects mean.
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from include.settings import S3Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

#: What S3 implementations answer when ``If-None-Match: *`` finds the object, or two writers race.
CONFLICT_STATUS = (409, 412)

#: As many connections as botocore keeps.
READ_AT_ONCE = 10


class ObjectMissing(KeyError):
    """There is no object of that key; the message names store and key."""

    def __str__(self) -> str:
        return str(self.args[0])


class ObjectStore(Protocol):
    """Immutable-minded object storage. Keys are ``/``-separated; values are bytes."""

    @property
    def url(self) -> str:
        """The store's root as text for humans and messages, such as ``s3://models``."""

    def get(self, key: str) -> bytes:
        """Return an object; raises ``ObjectMissing``."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing what is there."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless one of that key exists. Atomic: of many racing writers one gets ``True``."""

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""


class S3Store:
    """One bucket of an S3-compatible store."""

    def __init__(self, settings: S3Settings, bucket: str) -> None:
        self.bucket = bucket
        self.client = connect(settings)

    @property
    def url(self) -> str:
        """``s3://<bucket>``."""
        return f"s3://{self.bucket}"

    def get(self, key: str) -> bytes:
        """Return an object; raises ``ObjectMissing``."""
        from botocore.exceptions import ClientError

        try:
            body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _status(error) == 404:
                raise ObjectMissing(f"no object {self.url}/{key}") from error
            raise
        return body

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing what is there."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object by a conditional put; ``False`` if one of that key exists."""
        from botocore.exceptions import ClientError

        try:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) in CONFLICT_STATUS:
                return False
            raise
        return True

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""
        self.client.delete_object(Bucket=self.bucket, Key=key)


class DirectoryStore:
    """The same operations on a local folder; atomic through hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """``file://<folder>``."""
        return f"file://{self.root}"

    def get(self, key: str) -> bytes:
        """Return an object; raises ``ObjectMissing``."""
        try:
            return (self.root / key).read_bytes()
        except FileNotFoundError as error:
            raise ObjectMissing(f"no object {self.url}/{key}") from error

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing what is there."""
        self._stage(key, data).replace(self.root / key)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless one of that key exists."""
        staged = self._stage(key, data)
        try:
            os.link(staged, self.root / key)
        except FileExistsError:
            return False
        finally:
            staged.unlink()
        return True

    def keys(self, prefix: str) -> list[str]:
        """Return the keys under a prefix, sorted."""
        files = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(key for key in files if key.startswith(prefix) and not Path(key).name.startswith(".staged-"))

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""
        (self.root / key).unlink(missing_ok=True)

    def _stage(self, key: str, data: bytes) -> Path:
        folder = (self.root / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        handle, staged = tempfile.mkstemp(dir=folder, prefix=".staged-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        return Path(staged)


def get_all(store: ObjectStore, keys: Sequence[str]) -> list[bytes]:
    """Several small objects, in the order of their keys, some at once; raises ``ObjectMissing``."""
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        return list(pool.map(store.get, keys))


def connect(settings: S3Settings) -> "BaseClient | Any":
    """Return a boto3 client for the store: path-style addresses, a few retries."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        region_name=settings.region,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"}),
    )


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
