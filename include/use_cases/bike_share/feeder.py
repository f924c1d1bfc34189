"""Lay the hires of 2011 into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.bike_share.feeder --from 2010-12-31 --to 2011-01-31 [--reference] [--redated]``

With ``--redated`` the days are any days, filled with those of 2011 moved by whole weeks. The same facts give the same
bytes. How files are landed is ``include.landing_writer``'s affair.
"""

import json
from collections.abc import Iterator
from datetime import date, timedelta

from include.landing import s3_client
from include.landing_writer import DayFile, land_files, land_references, packed, parse_arguments
from include.use_cases.bike_share import USE_CASE, upstream

FILE_NAME = "part-0.jsonl.gz"


def day_files(use_case: str, first: date, last: date, redated: bool = False) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has an empty file."""
    facts = upstream.facts(first, last, redated)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for source, known in facts.items():
            rows = [row for ds, row in known if ds == day.isoformat()]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            yield DayFile(use_case, source, day, FILE_NAME, len(rows), packed(text))


def reference_files(use_case: str) -> dict[str, bytes]:
    """Landing key -> content of every reference table: there is none."""
    return {}


def main() -> None:
    """Land what the command line asks for."""
    arguments = parse_arguments(
        "Lay the hires of 2011 into the landing bucket.", "any days: those of 2011 moved by whole weeks"
    )
    client = s3_client()
    if arguments.reference:
        land_references(client, reference_files(USE_CASE.name))
    land_files(client, list(day_files(USE_CASE.name, arguments.first, arguments.last, arguments.redated)))


if __name__ == "__main__":
    main()
