"""The landing bucket: which files a source has for a day, their content hash and header, and how rows are read.

Plain S3 and bytes, no Spark: workers, the book and the sensors use the same functions. It knows CSV and JSON lines,
not what the fields mean.
"""

import csv
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import IO, Any, NamedTuple, cast

import boto3
from botocore.client import Config

from include.locations import LANDING_BUCKET, SUCCESS_MARKER, landing_prefix, reference_key
from include.settings import S3Settings

CSV_SUFFIX = ".csv.gz"
JSON_SUFFIX = ".jsonl.gz"
CHUNK = 1 << 20
CONNECTIONS = 8


class LandingIncomplete(ValueError):
    """A source's folder for a day lacks its ``_SUCCESS`` marker; the message names every such folder."""


class LandingUnreadable(ValueError):
    """A landing file is no gzip, no UTF-8 or not the CSV or JSON lines that its name promises; names the file."""


class ReferenceMissing(LookupError):
    """A reference table has not landed yet; the message names it."""


@dataclass(frozen=True)
class LandingFile:
    """One landing object: where it lies, its size in bytes, its SHA-256 and (CSV) the names in its header."""

    source: str
    ds: str
    key: str
    size: int
    sha256: str
    header: tuple[str, ...] | None


class LandedRow(NamedTuple):
    """One data row as text: ``line`` counts data rows of the file from 1; ``problem`` says what is not tabular."""

    line: int
    values: Mapping[str, str | None]
    problem: str | None = None


def s3_client(settings: S3Settings | None = None) -> Any:
    """A boto3 S3 client for the configured store."""
    s3 = settings or S3Settings.from_environment(os.environ)
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        config=Config(
            s3={"addressing_style": "path"},
            max_pool_connections=2 * CONNECTIONS,
            # S3-compatible stores differ in the newer checksum headers: send them only where the protocol wants one.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def object_sizes(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Every key under a prefix with its size in bytes, in key order."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: int(item["Size"]) for page in pages for item in page.get("Contents", ())}


def is_landing_file(key: str) -> bool:
    """Whether a key is a file of facts (not a marker, not hidden)."""
    name = key.rpartition("/")[2]
    return name.endswith((CSV_SUFFIX, JSON_SUFFIX)) and not name.startswith((".", "_"))


def list_landing(client: Any, use_case: str, sources: Iterable[str], days: Iterable[date]) -> dict[str, int]:
    """Keys and sizes of all facts files of sources and days; raises ``LandingIncomplete`` naming unfinished folders."""
    prefixes = [landing_prefix(use_case, source, day) for source in sources for day in days]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        listings = list(pool.map(lambda prefix: object_sizes(client, LANDING_BUCKET, prefix), prefixes))
    open_folders = [p for p, found in zip(prefixes, listings, strict=True) if p + SUCCESS_MARKER not in found]
    if open_folders:
        raise LandingIncomplete(missing_message(open_folders))
    return {key: size for found in listings for key, size in found.items() if is_landing_file(key)}


def missing_message(prefixes: list[str], shown: int = 20) -> str:
    """One line that names the folders without a ``_SUCCESS`` marker."""
    names = ", ".join(f"s3://{LANDING_BUCKET}/{prefix}{SUCCESS_MARKER}" for prefix in prefixes[:shown])
    more = f" and {len(prefixes) - shown} more" if len(prefixes) > shown else ""
    return f"{len(prefixes)} landing folder(s) are not complete; missing: {names}{more}"


def source_and_ds(use_case: str, key: str) -> tuple[str, str]:
    """The source and day that a landing key names; raises ``ValueError`` for a key of another shape."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != use_case or not parts[2].startswith("ds="):
        raise ValueError(f"landing key {key!r} is not {use_case}/<source>/ds=YYYY-MM-DD/<file>")
    return parts[1], parts[2].removeprefix("ds=")


def hash_files(client: Any, use_case: str, sizes: Mapping[str, int]) -> list[LandingFile]:
    """Stream every object once: its SHA-256 and its header. In key order."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(lambda key: _hash_file(client, use_case, key, sizes[key]), sorted(sizes)))


def _hash_file(client: Any, use_case: str, key: str, size: int) -> LandingFile:
    digest = hashlib.sha256()
    body = client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"]
    first = b""
    for chunk in body.iter_chunks(CHUNK):
        first = first or chunk
        digest.update(chunk)
    source, ds = source_and_ds(use_case, key)
    header = header_of(key, first) if key.endswith(CSV_SUFFIX) else None
    return LandingFile(source, ds, key, size, digest.hexdigest(), header)


def header_of(key: str, beginning: bytes) -> tuple[str, ...]:
    """The names in the header of a gzipped CSV, from the object's first bytes; empty for an empty file."""
    if not beginning:
        return ()
    try:
        text = zlib.decompressobj(wbits=31).decompress(beginning, CHUNK).decode("utf-8-sig", errors="ignore")
    except zlib.error as error:
        raise LandingUnreadable(f"s3://{LANDING_BUCKET}/{key} is not a gzip file: {error}") from error
    return tuple(next(csv.reader(io.StringIO(text)), ()))


def read_rows(key: str, content: IO[bytes]) -> Iterator[LandedRow]:
    """The data rows of a landing file as text (null = absent), numbered from 1; raises ``LandingUnreadable``.

    A row that is not tabular (too many or too few values, not a JSON object) is returned with its ``problem``.
    """
    with _text_of(key, content) as text:
        if key.endswith(CSV_SUFFIX):
            header, records = _csv_records(text)
            for line, values in enumerate(records, 1):
                yield csv_row(line, header, values)
        else:
            for line, record in enumerate(_json_records(text), 1):
                yield json_row(line, record)


@contextmanager
def _text_of(key: str, content: IO[bytes]) -> Iterator[IO[str]]:
    """A landing file unpacked; whatever is wrong with it is ``LandingUnreadable``."""
    try:
        with gzip.open(content, "rt", encoding="utf-8", newline="") as text:
            yield cast(IO[str], text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LandingUnreadable(f"s3://{LANDING_BUCKET}/{key} cannot be read: {error}") from error


def _csv_records(text: IO[str]) -> tuple[list[str], Iterator[list[str]]]:
    """The header, and the values of each row; an empty line holds none."""
    reader = csv.reader(text)
    header = [name.removeprefix("\ufeff") for name in next(reader, [])]
    return header, filter(None, reader)


def csv_row(line: int, header: list[str], values: list[str]) -> LandedRow:
    """Name the values of one CSV row; empty is null, and what has no name is kept under ``+1``, ``+2``, ..."""
    named: dict[str, str | None] = {name: value or None for name, value in zip(header, values, strict=False)}
    if len(values) == len(header):
        return LandedRow(line, named)
    named |= {f"+{i}": value for i, value in enumerate(values[len(header) :], start=1)}
    return LandedRow(line, named, f"row: has {len(values)} values, the header has {len(header)}")


def _json_records(text: IO[str]) -> Iterator[str]:
    return (content.rstrip("\r\n") for content in text if content.strip())


def json_row(line: int, content: str) -> LandedRow:
    """Name the values of one JSON line; scalars become the text that CSV would carry."""
    try:
        found = json.loads(content, parse_float=str, parse_int=str)
        if not isinstance(found, dict):
            return LandedRow(line, {"+1": content}, "row: is not a JSON object")
        values = {str(name): scalar_text(value) for name, value in found.items()}
        # Escapes can spell half of a surrogate pair, which no table can hold; the line itself is plain text.
        "".join([*values, *filter(None, values.values())]).encode()
    except UnicodeEncodeError as error:
        return LandedRow(line, {"+1": content}, f"row: holds half a character, {error.object[error.start]!a}")
    except RecursionError:
        return LandedRow(line, {"+1": content}, "row: is nested too deeply")
    except ValueError as error:
        return LandedRow(line, {"+1": content}, f"row: is not JSON: {error}")
    return LandedRow(line, values)


def scalar_text(value: object) -> str | None:
    """A JSON value as text: strings and numbers as they stand, the rest as JSON, null and empty as null."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def count_rows(client: Any, key: str) -> int:
    """How many data rows a landing object holds, read from the object itself."""
    content = io.BytesIO(client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read())
    with _text_of(key, content) as text:
        records = _csv_records(text)[1] if key.endswith(CSV_SUFFIX) else _json_records(text)
        return sum(1 for _ in records)


def reference_content(client: Any, use_case: str, name: str) -> bytes:
    """A reference table's file (gzipped CSV) as it lies there; raises ``ReferenceMissing``."""
    key = reference_key(use_case, name)
    try:
        return cast(bytes, client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read())
    except client.exceptions.NoSuchKey as error:
        raise ReferenceMissing(f"reference s3://{LANDING_BUCKET}/{key} has not landed yet") from error
