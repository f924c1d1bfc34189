"""Lay the flights of 2013 into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.flight_delay.feeder --from 2012-12-31 --to 2013-01-31 [--reference] [--redated]``

With ``--redated`` the days are any days, filled with the flights of 2013 moved by whole weeks. The same facts
give the same bytes. A landed object is never replaced: equal content is left, other content is an error. A source's
day is complete when ``_SUCCESS`` lies in its folder; it comes last.
"""

import argparse
import gzip
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from botocore.exceptions import ClientError

from include.landing import s3_client
from include.locations import LANDING_BUCKET, SUCCESS_MARKER, landing_prefix, reference_key
from include.use_cases.flight_delay import upstream
from include.use_cases.flight_delay.redating import redated_facts
from include.use_cases.flight_delay.references import REFERENCES

USE_CASE = "flight_delay"
FILE_NAME = "part-0.csv.gz"
WRITERS = 8
MISSING = ("", "NA")


class LandingConflict(RuntimeError):
    """A landing object exists with other content; the message names it."""


@dataclass(frozen=True)
class DayFile:
    """The facts of one source that became known on one day, as a landing object."""

    source: str
    day: date
    rows: int
    content: bytes

    @property
    def key(self) -> str:
        """Key of the facts in the landing bucket."""
        return landing_prefix(USE_CASE, self.source, self.day) + FILE_NAME

    @property
    def marker(self) -> str:
        """Key that says that the day is complete."""
        return landing_prefix(USE_CASE, self.source, self.day) + SUCCESS_MARKER


def day_files(facts: Mapping[str, pd.DataFrame], first: date, last: date) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has a file with only a header."""
    texts = {source: as_text(table) for source, table in facts.items()}
    groups = {source: dict(list(table.groupby("ds"))) for source, table in texts.items()}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for source, table in texts.items():
            rows = groups[source].get(day.isoformat(), table.iloc[:0]).drop(columns="ds")
            yield DayFile(source, day, len(rows), packed(rows))


def as_text(facts: pd.DataFrame) -> pd.DataFrame:
    """Write times as landing files have them, ``2013-01-29T10:15:00Z``."""
    times = {name: upstream.utc_text(facts[name], "s") for name in facts.select_dtypes("datetimetz").columns}
    return facts.assign(**times)


def packed(rows: pd.DataFrame) -> bytes:
    """A gzipped CSV with a header; missing values are empty. No time of writing inside: equal rows, equal bytes."""
    return gzip.compress(rows.to_csv(index=False, lineterminator="\n").encode(), mtime=0)


def reference_files(folder: Path) -> dict[str, bytes]:
    """Landing key -> content of every reference table, all columns as the package has them."""
    found = {}
    for reference in REFERENCES:
        table = pd.read_csv(folder / f"{reference.name}.csv", dtype=str, keep_default_na=False, na_values=MISSING)
        found[reference_key(USE_CASE, reference.name)] = packed(table)
    return found


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


def feed(client: Any, first: date, last: date, redated: bool = False) -> None:
    """Land every source's days ``first`` to ``last``, telling the progress on standard output."""
    facts = redated_facts(first, last) if redated else upstream.facts_of_days(first, last)
    files = list(day_files(facts, first, last))
    rows = written = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        for number, (file, new) in enumerate(zip(files, pool.map(lambda f: land(client, f), files), strict=True), 1):
            rows, written = rows + file.rows, written + new
            show_progress(number, len(files), file)
    print(f"landed {len(files)} files with {rows} facts ({written} new), {first} to {last}")


def show_progress(number: int, total: int, file: DayFile) -> None:
    """Redraw one line in a terminal; say nothing into a log."""
    if sys.stdout.isatty():
        print(
            f"\rlanding {number}/{total} {file.day} {file.source:<15}", end="\n" if number == total else "", flush=True
        )


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The days to land; stops with usage when they make no sense."""
    parser = argparse.ArgumentParser(description="Lay the flights of 2013 into the landing bucket.")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="first day, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, help="last day, included")
    parser.add_argument("--reference", action="store_true", help="also lay the reference tables")
    parser.add_argument("--redated", action="store_true", help="any days: the flights of 2013 moved by whole weeks")
    parsed = parser.parse_args(arguments)
    if parsed.last < parsed.first:
        parser.error(f"--to {parsed.last} lies before --from {parsed.first}")
    return parsed


def main() -> None:
    """Land what the command line asks for."""
    arguments = parse_arguments()
    client = s3_client()
    if arguments.reference:
        for key, content in reference_files(upstream.data_folder()).items():
            print(f"reference {key}: {'new' if put_once(client, key, content) else 'there already'}")
    feed(client, arguments.first, arguments.last, arguments.redated)


if __name__ == "__main__":
    main()
