"""Lay the flights of 2013 into the landing bucket, day by day, as upstream systems would.

``python -m include.use_cases.flight_delay.feeder --from 2012-12-31 --to 2013-01-31 [--reference] [--redated]``

With ``--redated`` the days are any days, filled with the flights of 2013 moved by whole weeks. The same facts
give the same bytes. How files are landed is ``include.landing_writer``'s affair.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from include import landing_writer
from include.landing import s3_client
from include.landing_writer import DayFile, land_files, land_references, parse_arguments
from include.locations import reference_key
from include.use_cases.flight_delay import upstream
from include.use_cases.flight_delay.redating import redated_facts
from include.use_cases.flight_delay.references import REFERENCES

USE_CASE = "flight_delay"
FILE_NAME = "part-0.csv.gz"
MISSING = ("", "NA")


def day_files(facts: Mapping[str, pd.DataFrame], first: date, last: date) -> Iterator[DayFile]:
    """One file per day and source, in that order; a day without facts has a file with only a header."""
    for source, day, rows in day_tables(facts, first, last):
        yield DayFile(USE_CASE, source, day, FILE_NAME, len(rows), packed(rows))


def day_tables(facts: Mapping[str, pd.DataFrame], first: date, last: date) -> Iterator[tuple[str, date, pd.DataFrame]]:
    """The facts of each day and source, in that order, as texts; of a day without facts the columns alone."""
    texts = {source: as_text(table) for source, table in facts.items()}
    groups = {source: dict(list(table.groupby("ds"))) for source, table in texts.items()}
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for source, table in texts.items():
            yield source, day, groups[source].get(day.isoformat(), table.iloc[:0]).drop(columns="ds")


def as_text(facts: pd.DataFrame) -> pd.DataFrame:
    """Write times as landing files have them, ``2013-01-29T10:15:00Z``."""
    times = {name: upstream.utc_text(facts[name], "s") for name in facts.select_dtypes("datetimetz").columns}
    return facts.assign(**times)


def packed(rows: pd.DataFrame) -> bytes:
    """A gzipped CSV with a header; missing values are empty."""
    return landing_writer.packed(rows.to_csv(index=False, lineterminator="\n"))


def reference_files(folder: Path) -> dict[str, bytes]:
    """Landing key -> content of every reference table, all columns as the package has them."""
    names = (reference.name for reference in REFERENCES)
    return {reference_key(USE_CASE, name): packed(packaged_reference(folder, name)) for name in names}


def packaged_reference(folder: Path, name: str) -> pd.DataFrame:
    """A reference table of the package as texts; what it has no value for is missing."""
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False, na_values=MISSING)


def feed(client: Any, first: date, last: date, redated: bool = False) -> None:
    """Land every source's days ``first`` to ``last``, telling the progress on standard output."""
    facts = redated_facts(first, last) if redated else upstream.facts_of_days(first, last)
    land_files(client, list(day_files(facts, first, last)))


def main() -> None:
    """Land what the command line asks for."""
    arguments = parse_arguments(
        "Lay the flights of 2013 into the landing bucket.", "any days: the flights of 2013 moved by whole weeks"
    )
    client = s3_client()
    if arguments.reference:
        land_references(client, reference_files(upstream.data_folder()))
    feed(client, arguments.first, arguments.last, arguments.redated)


if __name__ == "__main__":
    main()
