"""The rival of preprocessing: the same windows of the same landing files, computed by DuckDB.

Written as a DuckDB user in a hurry for speed would: per kind of tile one table by key and minute with running totals,
counts and sums as the difference of two ASOF joins, ``last`` as one ASOF join, ``max`` as a range join. It reads the
use case's declarations, so that it computes what Spark computes; it writes one Parquet file.
"""

from collections.abc import Iterable
from pathlib import Path

import duckdb

from include.contracts.contract import Contract, MomentRule
from include.tiles.spec import Measure, Tile, Window
from include.use_case import UseCase

DUCKDB_TYPES = {"string": "varchar", "integer": "bigint", "double": "double", "timestamp": "timestamp"}


def moment(rule: MomentRule) -> str:
    """A contract's time as an SQL expression."""
    start = f"date_trunc('day', {rule.field})" if rule.day_start else rule.field
    return f"({start} + interval ({rule.plus_minutes}) minute)"


def read_source(connection: duckdb.DuckDBPyConnection, contract: Contract, files: Path) -> None:
    """Read one source's landing files into a table, typed, with the minute of each fact."""
    columns = ", ".join(f"'{field.name}': '{DUCKDB_TYPES[field.type]}'" for field in contract.fields)
    later = f"greatest({moment(contract.event_time)}, {moment(contract.available_time)})"
    connection.execute(
        f"create table {contract.name} as select *, {later} as moment, "
        f"epoch(date_trunc('minute', {later}))::bigint // 60 as minute "
        f"from read_csv('{files}/{contract.name}/*/*.csv.gz', header=true, columns={{{columns}}})"
    )


def integer_of(measure: Measure) -> str:
    """A measure's integer for one fact."""
    if measure.field is None:
        return "1"
    value = f"round({measure.field} * {measure.scale})::bigint"
    if measure.clip:
        value = f"greatest(least({value}, {measure.clip[1]}), {measure.clip[0]})"
    if measure.above is not None:
        value = f"({value} > {measure.above})::bigint"
    # greatest and least skip nulls in DuckDB; a fact without a value must stay one.
    return f"(case when {measure.field} is not null then {value} end)"


def aggregate(measure: Measure, contract: Contract) -> str:
    """A measure over the facts of one key and minute."""
    if measure.kind == "count":
        return f"count(*) as {measure.name}"
    if measure.kind == "last":
        order = f"(moment, {moment(contract.event_time)}, {contract.key})"
        return f"arg_max_null({integer_of(measure)}, {order}) as {measure.name}"
    return f"{measure.kind}({integer_of(measure)}) as {measure.name}"


def build_tile(connection: duckdb.DuckDBPyConnection, tile: Tile, contract: Contract) -> None:
    """One table per kind of tile: key, minute, measures, and running totals of counts and sums."""
    key = " || '|' || ".join(f"{field}::varchar" for field in tile.key)
    measures = ", ".join(aggregate(measure, contract) for measure in tile.measures)
    totals = "".join(
        f", sum(coalesce({m.name}, 0)) over (partition by key order by minute)::bigint as {m.name}_total"
        for m in tile.measures
        if m.kind in ("count", "sum")
    )
    connection.execute(
        f"create table {tile.name} as select *{totals} from (select {key} as key, minute, {measures} "
        f"from {tile.source} where key is not null group by all)"
    )


def window_table(window: Window) -> str:
    """One window for every subject, as a query of the subject's id and the window's columns."""
    key = " || '|' || ".join(f"s.{field}::varchar" for field in window.key)
    kinds = {measure.kind for measure in window.tile.measures}
    subjects = f"(select subject_id, minute as t, {key} as key from subjects s)"
    columns = ["s.subject_id"]
    for measure in window.tile.measures:
        columns.append(f"{window_value(window, measure)} as {window.name}_{measure.name}")
    if window.has_last:
        inside = f"hi.minute >= s.t - {window.span_minutes}"
        columns.append(f"case when {inside} then s.t - hi.minute end as {window.name}_age")
    tile = window.tile.name
    joins = f" asof left join {tile} hi on s.key = hi.key and hi.minute < s.t"
    if kinds & {"count", "sum"}:
        joins += f" asof left join {tile} lo on s.key = lo.key and lo.minute < s.t - {window.span_minutes}"
    if "max" in kinds:
        maxima = ", ".join(f"max({m.name}) as {m.name}" for m in window.tile.measures if m.kind == "max")
        inside = f"x.key = s.key and x.minute < s.t and x.minute >= s.t - {window.span_minutes}"
        ranges = f"select s.subject_id, {maxima} from {subjects} s join {tile} x on {inside} group by 1"
        joins += f" left join ({ranges}) top on top.subject_id = s.subject_id"
    return f"select {', '.join(columns)} from {subjects} s{joins}"


def window_value(window: Window, measure: Measure) -> str:
    """A measure of a window from the joined tiles."""
    if measure.kind == "max":
        return f"top.{measure.name}"
    if measure.kind == "last":
        return f"case when hi.minute >= s.t - {window.span_minutes} then hi.{measure.name} end"
    return f"coalesce(hi.{measure.name}_total, 0) - coalesce(lo.{measure.name}_total, 0)"


def subject_days(use_case: UseCase, days: Iterable[str]) -> str:
    """The subjects whose default prediction time falls in ``days``."""
    at = f"({use_case.subject_time} - interval ({use_case.prediction_lead_minutes}) minute)"
    listed = ", ".join(f"'{day}'" for day in days)
    return (
        f"create table subjects as select *, {use_case.subject.key} as subject_id, {at} as prediction_time from "
        f"(select * exclude (minute), epoch(date_trunc('minute', {at}))::bigint // 60 as minute from "
        f"{use_case.subject_source}) where strftime({at}, '%Y-%m-%d') in ({listed})"
    )


def compute_windows(use_case: UseCase, files: Path, days: Iterable[str], output: Path, threads: int = 2) -> int:
    """Read ``files/<source>/*/*.csv.gz``, compute every window of every subject, write Parquet; returns the rows."""
    connection = duckdb.connect(config={"threads": threads})
    for contract in use_case.sources:
        read_source(connection, contract, files)
    for tile in use_case.tiles:
        build_tile(connection, tile, use_case.source(tile.source))
    connection.execute(subject_days(use_case, days))
    columns = ", ".join(column for window in use_case.features.windows for column in window.columns)
    joins = " ".join(
        f"join ({window_table(window)}) w{number} using (subject_id)"
        for number, window in enumerate(use_case.features.windows)
    )
    query = f"select s.subject_id, {columns} from subjects s {joins}"
    connection.execute(f"copy ({query}) to '{output}' (format parquet)")
    return int((connection.execute("select count(*) from subjects").fetchone() or (0,))[0])
