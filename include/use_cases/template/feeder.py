"""Lay generated facts into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.template.feeder --from 2024-01-01 --to 2024-01-14 [--reference]``
"""

import json
from collections.abc import Iterator
from datetime import date, timedelta

from include.landing import s3_client
from include.landing_writer import DayFile, land_files, land_references, packed, parse_arguments
from include.locations import reference_key
from include.use_cases.template import USE_CASE, generated

FILE_NAME = "part-0.jsonl.gz"


def day_files(use_case: str, first: date, last: date) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has an empty file."""
    facts = generated.facts(first, last)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for source, known in facts.items():
            rows = [row for ds, row in known if ds == day.isoformat()]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            yield DayFile(use_case, source, day, FILE_NAME, len(rows), packed(text))


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
