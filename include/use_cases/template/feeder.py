"""Lay generated facts into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.template.feeder --from 2024-01-01 --to 2024-01-14 [--reference]``
"""

from collections.abc import Iterator
from datetime import date

from include.landing import s3_client
from include.landing_writer import DayFile, json_files, land_files, land_references, packed, parse_arguments
from include.locations import reference_key
from include.use_cases.template import USE_CASE, generated


def day_files(use_case: str, first: date, last: date) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has an empty file."""
    return json_files(use_case, generated.facts(first, last), first, last)


def reference_files(use_case: str) -> dict[str, bytes]:
    """Landing key -> content of the reference table."""
    rows = generated.reference_rows()
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    return {reference_key(use_case, "depots"): packed("\n".join(lines) + "\n")}


def main() -> None:
    """Land what the command line asks for."""
    arguments = parse_arguments("Lay generated facts into the landing bucket.", "no matter: any day has facts")
    client = s3_client()
    if arguments.reference:
        land_references(client, reference_files(USE_CASE.name))
    land_files(client, list(day_files(USE_CASE.name, arguments.first, arguments.last)))


if __name__ == "__main__":
    main()
