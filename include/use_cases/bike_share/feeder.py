"""Lay the hires of 2011 into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.bike_share.feeder --from 2010-12-31 --to 2011-01-31 [--reference] [--redated]``

With ``--redated`` the days are any days, filled with those of 2011 moved by whole weeks. The same facts give the same
bytes. How files are landed is ``include.landing_writer``'s affair.
"""

from collections.abc import Iterator
from datetime import date

from include.landing import s3_client
from include.landing_writer import DayFile, json_files, land_files, land_references, parse_arguments
from include.use_cases.bike_share import USE_CASE, upstream


def day_files(use_case: str, first: date, last: date, redated: bool = False) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has an empty file."""
    return json_files(use_case, upstream.facts(first, last, redated), first, last)


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
