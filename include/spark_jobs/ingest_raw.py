"""Ingest: landing files of a span of days -> raw and quarantine tables, each row judged by its source's contract.

``ingest_raw.py --use-case NAME --from YYYY-MM-DD --to YYYY-MM-DD --run-id ID``

A file ingested before (same key, same hash) changes nothing, and where there is no other Spark is not asked; one that
differs stops the job. Each table gets one
commit for all days; a repeat after a crash finds the rows that are already there by file and line. The order of facts
is that of landing key and line, so a span in one run gives the same tables as its days one by one.
"""

import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from include import lake
from include.contracts.columns import judged, schema_differences, those_given
from include.contracts.contract import Contract
from include.landing import LandedRow, LandingFile, hash_files, list_landing, read_rows, s3_client
from include.locations import LANDING_BUCKET, Lake
from include.spark_jobs.catalog import (
    counting_facts,
    create_tables,
    days_between,
    of_days,
    read_table,
    shuffle_by_span,
)
from include.spark_jobs.session import begin_job, job_arguments, open_job_session
from include.tables import LANDING_FILES, Table, all_tables, quarantine_table, raw_table
from include.tombstones import read_events, retracted_keys
from include.use_case import UseCase, load_use_case

log = logging.getLogger("ingest_raw")

LANDING_URL = f"s3a://{LANDING_BUCKET}/"
BATCH_ROWS = 20_000
#: How ingest's own reasons begin.
UNKNOWN_FIELDS = "row: has unknown fields "
WRONG_DAY = "row: available on "
#: Columns of rows while they are classified: names that no field can have.
STATUS, GOOD, TURN, CLAIMS = "what became of it", "is good", "its turn", "how many claim it"
DIGEST, FIRST_DIGEST, KNOWN_DIGEST = "its digest", "digest of the first", "digest of the known"
#: What became of a row. ``known``: an earlier try of this ingest has committed it already.
STATUSES = ("new", "known", "quarantined", "duplicate")
#: Made once: ``json.dumps`` would make an encoder for every row.
as_json = json.JSONEncoder(ensure_ascii=False).encode
#: Sources whose facts are judged side by side: to plan a statement, not to run it, is most of a small day's time.
SOURCES_AT_ONCE = 3


class LandingFileChanged(ValueError):
    """A landing file differs from what was ingested under its name; nothing was written."""


class LandingHeaderWrong(ValueError):
    """The header of a landing file does not fit the contract; the message names files and fields."""


@dataclass(frozen=True)
class FilePlan:
    """Which files to ingest; those in ``repeated`` have the content of another file of the same source and day."""

    new: tuple[LandingFile, ...]
    repeated: frozenset[str]
    unchanged: int

    def of(self, source: str) -> list[LandingFile]:
        """The new files of one source."""
        return [file for file in self.new if file.source == source]


def plan_files(
    found: Sequence[LandingFile], known: Sequence[Mapping[str, Any]], withdrawn: Set[str] = frozenset()
) -> FilePlan:
    """Compare files with those ingested before; raises ``LandingFileChanged`` if one has another content now.

    A file repeats none that is ``withdrawn``: delivered again, the same content counts.
    """
    hashes = {str(row["landing_key"]): str(row["landing_sha256"]) for row in known}
    changed = [file for file in found if hashes.get(file.key, file.sha256) != file.sha256]
    if changed:
        raise LandingFileChanged("; ".join(changed_message(file, hashes[file.key]) for file in changed))
    counting = [row for row in known if row["landing_key"] not in withdrawn]
    seen = {(str(row["source"]), str(row["ds"]), str(row["landing_sha256"])) for row in counting}
    new = [file for file in sorted(found, key=lambda file: file.key) if file.key not in hashes]
    repeated = set()
    for file in new:
        identity = (file.source, file.ds, file.sha256)
        if identity in seen:
            repeated.add(file.key)
        seen.add(identity)
    return FilePlan(tuple(new), frozenset(repeated), len(found) - len(new))


def changed_message(file: LandingFile, ingested: str) -> str:
    """What a changed file's error says: the file, both hashes and what to do."""
    return (
        f"s3://{LANDING_BUCKET}/{file.key} has SHA-256 {file.sha256}, but was ingested with {ingested}: landing files "
        f"are never changed. Put the old content back, and deliver corrections as new facts in a new file"
    )


def check_headers(files: Iterable[LandingFile], contracts: Mapping[str, Contract]) -> None:
    """Raise ``LandingHeaderWrong`` naming every CSV file whose header is not that of its source's contract."""
    problems = [
        f"s3://{LANDING_BUCKET}/{file.key}: {differences}"
        for file in files
        if file.header and (differences := schema_differences(file.header, contracts[file.source]))
    ]
    if problems:
        raise LandingHeaderWrong("; ".join(problems))


def landed_schema(contract: Contract) -> str:
    """The columns that reading gives: the contract's fields as text, the row as it landed, and where it lies."""
    fields = "".join(f"`{name}` string, " for name in contract.field_names)
    return f"{fields}record string, problem string, landing_key string, landing_line bigint"


def read_landing(
    spark: SparkSession, files: Sequence[LandingFile], repeated: frozenset[str], contract: Contract
) -> DataFrame:
    """The data rows of landing files, as text, with the file's hash, day (``ds``) and ``repeated``."""
    paths = [LANDING_URL + file.key for file in files]
    # Keys are names, not patterns: brackets and stars in them stand for themselves. Without the recursive look-up Spark
    # infers partitions from such paths and then reads their neighbours twice.
    options = {"__globPaths__": "false", "recursiveFileLookup": "true"}
    content = spark.read.format("binaryFile").options(**options).load(paths).select("path", "content")
    rows = content.mapInArrow(partial(parse_objects, names=contract.field_names), landed_schema(contract))
    about = spark.createDataFrame(
        [(file.key, file.sha256, file.ds, file.key in repeated) for file in files],
        "landing_key string, landing_sha256 string, ds string, repeated boolean",
    )
    return rows.join(F.broadcast(about), "landing_key")


def parse_objects(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """On a Spark worker: objects (``path``, ``content``) -> batches of their rows."""
    for batch in batches:
        for path, content in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            yield from _parse_object(path.removeprefix(LANDING_URL), content, names)


def _parse_object(key: str, content: bytes, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    rows = read_rows(key, io.BytesIO(content))
    while batch := list(islice(rows, BATCH_ROWS)):
        yield _batch(key, batch, names)


def _batch(key: str, rows: Sequence[LandedRow], names: Sequence[str]) -> pa.RecordBatch:
    known = frozenset(names)
    columns = {name: pa.array([row.values.get(name) for row in rows], pa.string()) for name in names}
    columns["record"] = pa.array([as_json(row.values) for row in rows], pa.string())
    columns["problem"] = pa.array([row.problem or _unknown_fields(row, known) for row in rows], pa.string())
    columns["landing_key"] = pa.array([key] * len(rows), pa.string())
    columns["landing_line"] = pa.array([row.line for row in rows], pa.int64())
    return pa.RecordBatch.from_pydict(columns)


def _unknown_fields(row: LandedRow, known: Set[str]) -> str | None:
    if row.values.keys() <= known:
        return None
    unknown = sorted(name for name in row.values if name not in known and not name.startswith("+"))
    return f"{UNKNOWN_FIELDS}{', '.join(unknown)}" if unknown else None


def with_landing_reasons(rows: DataFrame) -> DataFrame:
    """Add to the contract's reasons what only ingest can see: rows that are not tabular, and another day's facts."""
    available = F.date_format("available_at", "yyyy-MM-dd")
    wrong_day = F.when(
        F.col("available_at").isNotNull() & (available != F.col("ds")),
        F.concat(F.lit(WRONG_DAY), available, F.lit(", landed in "), F.col("ds")),
    )
    additional = those_given(F.col("problem"), wrong_day)
    return rows.withColumn("reasons", F.concat(F.coalesce("reasons", F.array().cast("array<string>")), additional))


def fact_digest(contract: Contract) -> Column:
    """A digest over all fields of a fact: two facts with one id are the same when it is."""
    return F.sha2(F.to_json(F.struct(*contract.field_names)), 256)


def contested_ids(rows: DataFrame, raw: DataFrame, contract: Contract) -> DataFrame:
    """The ids that more than one of ``rows`` claims, or that ``raw`` holds already (then with its ``ds``).

    Ids alone are read of the whole table and shuffled: whether an id is free says the history, not the day.
    """
    ids = rows.select(contract.key)
    several = ids.groupBy(contract.key).agg(F.count("*").alias(CLAIMS)).where(F.col(CLAIMS) > 1)
    held = raw.select(contract.key, "ds").join(ids, contract.key, "left_semi")
    return several.select(contract.key, F.lit(None).cast("string").alias("ds")).unionByName(held)


def known_facts(raw: DataFrame, contested: DataFrame, days: Sequence[str | None], contract: Contract) -> DataFrame:
    """What the raw table holds of the contested ids, on these days: per id the digest and where it came from."""
    held = raw.where(F.col("ds").isin(days)).join(contested.select(contract.key), contract.key, "left_semi")
    return held.select(
        F.col(contract.key),
        fact_digest(contract).alias(KNOWN_DIGEST),
        F.col("landing_key").alias("known file"),
        F.col("landing_line").alias("known line"),
        F.col("landing_sha256").alias("known sha256"),
    )


def classified(rows: DataFrame, contested: DataFrame, raw: DataFrame, contract: Contract) -> DataFrame:
    """Add ``STATUS`` to judged rows: new, known, quarantined (with reasons) or duplicate.

    A good row whose id is not contested is new; the others are compared. Evaluated again after its new rows were
    appended to ``raw`` these are known, and the rest is as it was: that is what a repeat after a crash relies on.
    """
    rows = rows.withColumn(GOOD, ~F.col("repeated") & (F.size("reasons") == 0))
    status = F.when(F.col("repeated"), "duplicate").when(~F.col(GOOD), "quarantined").otherwise("new")
    days = [row["ds"] for row in contested.select("ds").distinct().collect()]
    if not days:
        return rows.withColumn(STATUS, status)
    ids, known = contested.select(contract.key), known_facts(raw, contested, days, contract)
    free = rows.join(ids, contract.key, "left_anti").withColumn(STATUS, status)
    compared = compare(rows.join(ids, contract.key, "left_semi"), known, contract)
    return free.unionByName(compared.select(free.columns))


def compare(rows: DataFrame, known: DataFrame, contract: Contract) -> DataFrame:
    """Add ``STATUS`` to judged rows (with ``GOOD``) of contested ids.

    An id belongs to the fact in ``known``, or else to the first good row of ``rows`` by landing key and line.
    """
    ordered = Window.partitionBy(contract.key, GOOD).orderBy("landing_key", "landing_line")
    ranked = (
        rows.withColumn(DIGEST, fact_digest(contract))
        .withColumns({TURN: F.row_number().over(ordered), FIRST_DIGEST: F.first(DIGEST).over(ordered)})
        .join(known, contract.key, "left")
    )
    own = F.col(KNOWN_DIGEST).isNotNull()
    resumed = (F.col("known file") == F.col("landing_key")) & (F.col("known line") == F.col("landing_line"))
    same = F.when(own, F.col(KNOWN_DIGEST)).otherwise(F.col(FIRST_DIGEST)) == F.col(DIGEST)
    first = F.when(own, F.lit(False)).otherwise(F.col(TURN) == 1)
    status = (
        F.when(F.col("repeated"), "duplicate")
        .when(~F.col(GOOD), "quarantined")
        .when(own & resumed & (F.col("known sha256") == F.col("landing_sha256")), "known")
        .when(first, "new")
        .when(same, "duplicate")
        .otherwise("quarantined")
    )
    second = F.array(F.lit(f"{contract.key}: another fact with this {contract.key} was ingested before"))
    with_status = ranked.withColumn(STATUS, status)
    return with_status.withColumn(
        "reasons",
        F.when((F.col(STATUS) == "quarantined") & (F.size("reasons") == 0), second).otherwise(F.col("reasons")),
    )


@contextmanager
def kept(frame: DataFrame) -> Iterator[DataFrame]:
    """Compute a frame once and keep it; its true size is known from then on, by which Spark chooses how to join it."""
    frame.persist()
    try:
        frame.count()
        yield frame
    finally:
        frame.unpersist()


@contextmanager
def with_status(landed: DataFrame, raw: DataFrame, contract: Contract) -> Iterator[DataFrame]:
    """Judge rows as they landed and classify them against ``raw``; what takes long is computed once and kept."""
    rows = with_landing_reasons(judged(landed, contract))
    with kept(rows), kept(contested_ids(rows, raw, contract)) as contested:
        yield classified(rows, contested, raw, contract)


def counts_by_file(rows: DataFrame) -> dict[str, dict[str, int]]:
    """Rows by landing key and status."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows.groupBy("landing_key", STATUS).count().collect():
        counts.setdefault(row["landing_key"], dict.fromkeys(STATUSES, 0))[row[STATUS]] = int(row["count"])
    return counts


def landing_file_rows(
    files: Iterable[LandingFile], counts: Mapping[str, Mapping[str, int]], run_id: str, now: datetime
) -> list[dict[str, Any]]:
    """The rows of ``landing_files``; a file without rows has none in ``counts``."""
    nothing = dict.fromkeys(STATUSES, 0)
    return [
        {
            "source": file.source,
            "landing_key": file.key,
            "landing_sha256": file.sha256,
            "bytes": file.size,
            "rows": sum((found := counts.get(file.key, nothing)).values()),
            "ingested": found["new"] + found["known"],
            "quarantined": found["quarantined"],
            "duplicate": found["duplicate"],
            "run_id": run_id,
            "ingested_at": now,
            "ds": file.ds,
        }
        for file in files
    ]


def append_rows(rows: DataFrame, use_case: str, table: Table, contract: Contract, run_id: str) -> None:
    """Append rows to a raw or quarantine table in one commit, one file a day."""
    (
        rows.withColumns({"contract_version": F.lit(contract.version), "run_id": F.lit(run_id)})
        .select(*(column.name for column in table.columns))
        .repartition("ds")
        .sortWithinPartitions("ds", "landing_key", "landing_line")
        .write.format("delta")
        .mode("append")
        .option("userMetadata", run_id)
        .save(Lake(use_case).path(table.name))
    )


def ingest_source(
    spark: SparkSession, use_case: UseCase, contract: Contract, plan: FilePlan, run_id: str
) -> dict[str, dict[str, int]]:
    """Judge one source's new files, append to its raw and quarantine tables; returns rows by landing key and status."""
    files = plan.of(contract.name)
    if not files:
        return {}
    # A withdrawn fact holds no id: a corrected file may bring it anew.
    raw = counting_facts(spark, use_case.name, contract.name)
    with with_status(read_landing(spark, files, plan.repeated, contract), raw, contract) as rows:
        counts = counts_by_file(rows)
        if any(found["new"] for found in counts.values()):
            append_rows(rows.where(F.col(STATUS) == "new"), use_case.name, raw_table(contract), contract, run_id)
        if any(found["quarantined"] for found in counts.values()):
            _append_quarantine(spark, use_case.name, rows, contract, files, run_id)
    return counts


def _append_quarantine(
    spark: SparkSession, use_case: str, rows: DataFrame, contract: Contract, files: Sequence[LandingFile], run_id: str
) -> None:
    """Append the rejected rows that an earlier try has not appended already."""
    table = quarantine_table(contract)
    days = [date.fromisoformat(file.ds) for file in files]
    there = of_days(read_table(spark, use_case, table.name), min(days), max(days))
    rejected = rows.where(F.col(STATUS) == "quarantined").join(
        there.select("landing_key", "landing_line"), ["landing_key", "landing_line"], "left_anti"
    )
    append_rows(rejected, use_case, table, contract, run_id)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for the job's log: files, days and rows."""
    totals = {name: sum(row[name] for row in rows) for name in ("rows", "ingested", "quarantined", "duplicate")}
    days = len({row["ds"] for row in rows})
    return f"{len(rows)} files of {days} days: " + ", ".join(f"{value} {name}" for name, value in totals.items())


def plan_ingest(use_case: UseCase, days: Sequence[date]) -> FilePlan:
    """Which landing files of some days are new, by hashes and headers; needs no Spark.

    Raises ``LandingIncomplete``, ``LandingFileChanged`` or ``LandingHeaderWrong``.
    """
    client = s3_client()
    contracts = {contract.name: contract for contract in use_case.sources}
    sizes = list_landing(client, use_case.name, contracts, days)
    found = hash_files(client, use_case.name, sizes)
    log.info("%d landing files, %d bytes, %d days", len(found), sum(sizes.values()), len(days))
    there = lake.has_tables(use_case.name, [LANDING_FILES])
    known = lake.read_rows(use_case.name, LANDING_FILES.name, ds=[day.isoformat() for day in days]) if there else []
    plan = plan_files(found, known, retracted_keys(read_events(use_case.name)).keys())
    log.info("%d files are new, %d were ingested before", len(plan.new), plan.unchanged)
    check_headers(plan.new, contracts)
    return plan


def nothing_to_do(use_case: UseCase, plan: FilePlan) -> bool:
    """Whether every file was ingested before, and no table is missing."""
    return not plan.new and lake.has_tables(use_case.name, all_tables(use_case))


def ingest(spark: SparkSession, use_case: UseCase, plan: FilePlan, run_id: str) -> list[dict[str, Any]]:
    """Ingest the planned files of every source; returns the new rows of ``landing_files``."""
    create_tables(spark, use_case)
    shuffle_by_span(spark, len({file.ds for file in plan.new}))
    written: list[dict[str, Any]] = []
    with ThreadPoolExecutor(SOURCES_AT_ONCE) as pool:
        counted = pool.map(lambda source: ingest_source(spark, use_case, source, plan, run_id), use_case.sources)
        for contract, counts in zip(use_case.sources, counted, strict=True):
            # Not when they were appended but when they are noted: who looks here first has read raw before that.
            rows = landing_file_rows(plan.of(contract.name), counts, run_id, datetime.now(UTC))
            lake.merge_rows(use_case.name, LANDING_FILES, rows)
            if rows:
                log.info("%s: %s", contract.name, summary(rows))
            written += rows
    return written


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job; where nothing is new, without a session of Spark."""
    args = job_arguments(argv, __doc__)
    use_case = load_use_case(args.use_case)
    begin_job()
    plan = plan_ingest(use_case, days_between(args.first, args.last))
    if nothing_to_do(use_case, plan):
        return
    spark = open_job_session(f"ingest_raw {args.use_case} {args.first} {args.last}")
    written = ingest(spark, use_case, plan, args.run_id)
    log.info("ingested %s", summary(written))
    spark.stop()


if __name__ == "__main__":
    main()
