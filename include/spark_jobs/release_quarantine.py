"""Release: quarantined rows of a span of days that pass their contract now -> raw, each fact once.

``release_quarantine.py --use-case NAME --source SOURCE --from YYYY-MM-DD --to YYYY-MM-DD --reason TEXT --dry-run BOOL
--run-id ID``

``--reason`` chooses rows by a part of any of their reasons (empty: all). A released row keeps its landing file, hash
and line; it has the version of the contract that accepted it and this run's id. The quarantined row stays as it is,
with the reasons and the version of then: a row whose file and line are in raw has been released. A repeat changes
nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include import lake
from include.book import names_of
from include.contracts.contract import Contract
from include.spark_jobs.catalog import counting, counting_facts, create_tables, days_between, of_days, read_table
from include.spark_jobs.ingest_raw import (
    STATUS,
    UNKNOWN_FIELDS,
    WRONG_DAY,
    append_rows,
    with_status,
)
from include.spark_jobs.session import span_parser, start_job
from include.tables import LANDING_FILES, quarantine_table, raw_table
from include.tombstones import retracted_files
from include.use_case import UseCase, load_use_case

log = logging.getLogger("release_quarantine")

#: What ``classified`` calls a row, and what that means for a row of the quarantine.
OUTCOMES: Mapping[str, str] = {
    "new": "pass now",
    "known": "were released before",
    "duplicate": "pass, and are equal to a fact that is known",
    "quarantined": "still break the contract",
}


@dataclass(frozen=True)
class Released:
    """Rows by day and outcome (the keys of ``OUTCOMES``), and whether they were only looked at."""

    rows: Mapping[tuple[str, str], int]
    dry_run: bool

    def lines(self) -> list[str]:
        """For the log: one line a day and outcome, then the sum."""
        each = [f"{ds}: {count} rows {OUTCOMES[status]}" for (ds, status), count in sorted(self.rows.items())]
        new = sum(count for (_, status), count in self.rows.items() if status == "new")
        return [*each, f"{new} rows {'would be released (dry run)' if self.dry_run else 'released'}"]


def with_reason(quarantine: DataFrame, part: str) -> DataFrame:
    """Only the rows of which a reason contains ``part``, in any case of letters; empty: all."""
    if not part:
        return quarantine
    return quarantine.where(F.exists("reasons", lambda reason: F.contains(F.lower(reason), F.lit(part.lower()))))


def as_landed(quarantine: DataFrame, contract: Contract) -> DataFrame:
    """Quarantined rows as ``read_landing`` gave them: the fields as text, ``problem``, and where the row lies.

    Whether a row was tabular is known from its reasons; whether it has fields that the contract lacks is asked again.
    """
    values = F.from_json("record", "map<string,string>")
    rows = quarantine.withColumn("values", values)
    unknown = F.array_sort(
        F.filter(F.map_keys("values"), lambda name: ~name.isin(*contract.field_names) & ~F.startswith(name, F.lit("+")))
    )
    has_unknown = F.when(F.size(unknown) > 0, F.concat(F.lit(UNKNOWN_FIELDS), F.array_join(unknown, ", ")))
    fields = [F.element_at("values", name).alias(name) for name in contract.field_names]
    return rows.select(
        *fields,
        F.coalesce(F.get(F.filter("reasons", not_tabular), F.lit(0)), has_unknown).alias("problem"),
        "landing_key",
        "landing_line",
        "landing_sha256",
        "ds",
        F.lit(False).alias("repeated"),
    )


def not_tabular(reason: Column) -> Column:
    """Whether a reason says that the row could not be read as the file's names and values; no contract mends that."""
    about_row = F.startswith(reason, F.lit("row: "))
    return about_row & ~F.startswith(reason, F.lit(UNKNOWN_FIELDS)) & ~F.startswith(reason, F.lit(WRONG_DAY))


def recounted(files: Iterable[Mapping[str, Any]], ingested: Mapping[tuple[Any, ...], int]) -> list[dict[str, Any]]:
    """Rows of ``landing_files`` with the rows that are in raw now; what is no duplicate either is in quarantine."""
    counted = []
    for file in files:
        there = ingested.get((file["landing_key"],), 0)
        counted.append({**file, "ingested": there, "quarantined": file["rows"] - file["duplicate"] - there})
    return counted


def release(
    spark: SparkSession, use_case: UseCase, source: str, days: Sequence[date], part: str, dry_run: bool, run_id: str
) -> Released:
    """Judge the quarantined rows of some days again and append those that pass; raises ``KeyError`` for no source."""
    contract = use_case.source(source)
    create_tables(spark, use_case)
    withdrawn = retracted_files(use_case.name, source)
    rejected = counting(read_table(spark, use_case.name, quarantine_table(contract).name), withdrawn)
    quarantine = with_reason(of_days(rejected, days[0], days[-1]), part)
    raw = counting_facts(spark, use_case.name, source)
    with with_status(as_landed(quarantine, contract), raw, contract) as rows:
        counts = {(r["ds"], r[STATUS]): int(r["count"]) for r in rows.groupBy("ds", STATUS).count().collect()}
        if not dry_run and any(status == "new" for _, status in counts):
            append_rows(rows.where(F.col(STATUS) == "new"), use_case.name, raw_table(contract), contract, run_id)
    if not dry_run:
        recount_files(use_case, contract, names_of(days))
    return Released(counts, dry_run)


def recount_files(use_case: UseCase, contract: Contract, ds: Sequence[str]) -> None:
    """Bring ``landing_files`` up to what is in raw now, for one source's files of some days."""
    files = lake.read_rows(use_case.name, LANDING_FILES.name, ds=ds)
    own = [file for file in files if file["source"] == contract.name]
    ingested = lake.count_by(use_case.name, raw_table(contract).name, ["landing_key"], ds)
    changed = [new for old, new in zip(own, recounted(own, ingested), strict=True) if new != old]
    lake.merge_rows(use_case.name, LANDING_FILES, changed, update="all")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    parser = span_parser(__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--reason", default="")
    parser.add_argument("--dry-run", choices=("True", "False"), default="True")
    args = parser.parse_args(argv)
    use_case = load_use_case(args.use_case)
    days = days_between(args.first, args.last)
    spark = start_job(f"release_quarantine {args.use_case} {args.source} {args.first} {args.last}")
    found = release(spark, use_case, args.source, days, args.reason, args.dry_run == "True", args.run_id)
    for line in found.lines():
        log.info("%s: %s", args.source, line)
    spark.stop()


if __name__ == "__main__":
    main()
