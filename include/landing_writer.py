"""Lays facts into the landing bucket the way upstream systems do: each object once, ``_SUCCESS`` last.

A landed object is never replaced: equal content is left, other content is an error. A use case's feeder says what the
facts are, and how they become bytes where they are not lines of JSON; this module knows no domain.
"""

import argparse
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from botocore.exceptions import ClientError

from include.locations import LANDING_BUCKET, SUCCESS_MARKER, landing_prefix

WRITERS = 8
JSON_NAME = "part-0.jsonl.gz"


class LandingConflict(RuntimeError):
    """A landing object exists with other content; the message names it."""


@dataclass(frozen=True)
class DayFile:
    """The facts of one source that became known on one day, as a landing object called ``name``."""

    use_case: str
    source: str
    day: date
    name: str
    rows: int
    content: bytes

    @property
    def key(self) -> str:
        """Key of the facts in the landing bucket."""
        return landing_prefix(self.use_case, self.source, self.day) + self.name

    @property
    def marker(self) -> str:
        """Key that says that the day is complete."""
        return landing_prefix(self.use_case, self.source, self.day) + SUCCESS_MARKER


def packed(text: str) -> bytes:
    """Gzipped text. No time of writing inside: equal text, equal bytes."""
    return gzip.compress(text.encode(), mtime=0)


def json_files(
    use_case: str, facts: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]], first: date, last: date
) -> Iterator[DayFile]:
    """One file per day and source, in that order, of (``ds``, fact) by source; a day without facts has an empty one."""
    lines: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for source, known in facts.items():
        for ds, row in known:
            lines[ds, source].append(json.dumps(row) + "\n")
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for source in facts:
            found = lines[day.isoformat(), source]
            yield DayFile(use_case, source, day, JSON_NAME, len(found), packed("".join(found)))


def put_once(client: Any, key: str, content: bytes) -> bool:
    """Write an object unless it exists; False if it does with equal content, ``LandingConflict`` if with other."""
    try:
        client.put_object(Bucket=LANDING_BUCKET, Key=key, Body=content, IfNoneMatch="*")
        return True
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
            raise
    if client.get_object(Bucket=LANDING_BUCKET, Key=key)["Body"].read() != content:
        raise LandingConflict(
            f"s3://{LANDING_BUCKET}/{key} exists with other content; landing files are never replaced"
        )
    return False


def land(client: Any, file: DayFile) -> bool:
    """Write one day of a source and then its marker; whether anything was new."""
    written = put_once(client, file.key, file.content)
    return put_once(client, file.marker, b"") or written


def land_files(client: Any, files: Sequence[DayFile]) -> None:
    """Land day files, telling the progress on standard output."""
    rows = written = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        for number, (file, new) in enumerate(zip(files, pool.map(lambda f: land(client, f), files), strict=True), 1):
            rows, written = rows + file.rows, written + new
            _show_progress(number, len(files), file)
    days = sorted({file.day for file in files})
    print(f"landed {len(files)} files with {rows} facts ({written} new), {days[0]} to {days[-1]}")


def land_references(client: Any, files: Mapping[str, bytes]) -> None:
    """Land reference tables by landing key."""
    for key, content in files.items():
        print(f"reference {key}: {'new' if put_once(client, key, content) else 'there already'}")


def _show_progress(number: int, total: int, file: DayFile) -> None:
    """Redraw one line in a terminal; say nothing into a log."""
    if sys.stdout.isatty():
        print(
            f"\rlanding {number}/{total} {file.day} {file.source:<15}", end="\n" if number == total else "", flush=True
        )


def parse_arguments(description: str, redated: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """A feeder's command line: ``first``, ``last``, ``reference`` and ``redated``; stops with usage on nonsense.

    ``redated`` says what that option means for the use case.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, help="last day, included")
    parser.add_argument("--reference", action="store_true", help="also lay the reference tables")
    parser.add_argument("--redated", action="store_true", help=redated)
    parsed = parser.parse_args(arguments)
    if parsed.last < parsed.first:
        parser.error(f"--to {parsed.last} lies before --from {parsed.first}")
    return parsed
