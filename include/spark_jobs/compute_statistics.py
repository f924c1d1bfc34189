"""Statistics of the archive: features and labels of closed days -> table ``statistics``, one day of it per run.

``compute_statistics.py --use-case NAME --run-id ID``

Spark counts (by value and day, by bin), ``include.inference`` judges. Three kinds of row, for the features that the use
case names as ``slices`` (share, change) and for all features (drift):

- ``share``: of one value of a feature against all other values, over the archive;
- ``change``: of one value in the last ``MONTH`` days against the ``MONTH`` days before (halves of a shorter archive);
- ``drift``: how far a feature's distribution in the last ``MONTH`` days is from that of the ``MONTH`` days before.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from include import book
from include.features.spec import Feature
from include.inference import Doubles, benjamini_hochberg, difference, stability_index, wilson
from include.spark_jobs.catalog import create_tables, of_days, read_table, replace_days, shuffle_by_span
from include.spark_jobs.session import run_arguments, start_job
from include.tables import LABELS, STATISTICS, features_table
from include.use_case import UseCase, load_use_case

log = logging.getLogger("compute_statistics")

#: What "this month" and "the month before" are: the last days with closed labels, and as many before them. Of an
#: archive shorter than two months they are its halves, so that a young deployment has something to compare.
MONTH = 30
BINS = 10
#: How often it computes at most: while a long backfill closes day after day the next run comes soon enough.
ROUNDS = 5
SHARE, CHANGE, DRIFT = "share", "change", "drift"
Row = dict[str, Any]


@dataclass(frozen=True)
class Spans:
    """First and last days (UTC), both included: of the archive, of this month, and of the month before it."""

    first: date
    last: date

    @property
    def length(self) -> timedelta:
        """How long either month is: ``MONTH`` days, half of a shorter archive, a day at least."""
        return timedelta(days=max(1, min(MONTH, ((self.last - self.first).days + 1) // 2)))

    @property
    def month(self) -> tuple[date, date]:
        """The last ``length`` days."""
        return self.last - self.length + timedelta(days=1), self.last

    @property
    def before(self) -> tuple[date, date] | None:
        """As many days before the month; None in an archive of one day."""
        first = self.month[0] - self.length
        return None if first < self.first else (first, self.month[0] - timedelta(days=1))


@dataclass(frozen=True)
class Counts:
    """Rows and positives by value and day of one feature: arrays over the same days."""

    days: tuple[str, ...]
    rows: Mapping[str, Doubles]
    positives: Mapping[str, Doubles]


def labelled(spark: SparkSession, use_case: UseCase, names: Sequence[str], first: date, last: date) -> DataFrame:
    """Some features of the subjects of a span of days, with their label.

    No more than are wanted: of what is persisted every column is read.
    """
    features = of_days(read_table(spark, use_case.name, features_table(use_case).name), first, last)
    labels = of_days(read_table(spark, use_case.name, LABELS.name), first, last)
    return features.select("subject_id", "ds", *names).join(
        labels.select("subject_id", "label", "ds"), ["subject_id", "ds"]
    )


def value_text(rows: DataFrame, feature: str) -> Column:
    """A feature's value as text, of numbers whole ones without a fraction; null is its own value."""
    column, none = F.col(feature), F.lit("(none)")
    if isinstance(rows.schema[feature].dataType, StringType):
        return F.coalesce(column, none)  # 07 and 7 are two
    whole = F.when(column == F.floor(column), column.try_cast("bigint"))
    return F.coalesce(whole.cast("string"), column.cast("string"), none)


def counts_by_day(rows: DataFrame, feature: str) -> Counts:
    """Count subjects and positives of each value and day."""
    named = rows.select(value_text(rows, feature).alias("value"), "ds", "label")
    found = named.groupBy("value", "ds").agg(F.count("*").alias("rows"), F.sum("label").alias("positives")).collect()
    days = tuple(sorted({row["ds"] for row in found}))
    place = {ds: number for number, ds in enumerate(days)}
    counts: dict[str, dict[str, Doubles]] = {"rows": {}, "positives": {}}
    for row in found:
        for what, by_value in counts.items():
            by_value.setdefault(row["value"], np.zeros(len(days)))[place[row["ds"]]] = row[what]
    return Counts(days, counts["rows"], counts["positives"])


def within(counts: Counts, span: tuple[date, date]) -> Doubles:
    """1 for the days of a span, 0 for the others."""
    first, last = (day.isoformat() for day in span)
    return np.array([float(first <= ds <= last) for ds in counts.days])


def share_rows(counts: Counts, feature: str, spans: Spans) -> list[Row]:
    """Each value of a feature against all other values, over the archive."""
    all_rows, all_positives = sum(counts.rows.values()), sum(counts.positives.values())
    span = (spans.first, spans.last)
    return [
        judged(
            SHARE,
            feature,
            value,
            rows,
            counts.positives[value],
            all_rows - rows,
            all_positives - counts.positives[value],
            span,
            span,
        )
        for value, rows in sorted(counts.rows.items())
    ]


def change_rows(counts: Counts, feature: str, spans: Spans) -> list[Row]:
    """Each value of a feature this month against the month before; none without a month before."""
    if spans.before is None:
        return []
    now, then = within(counts, spans.month), within(counts, spans.before)
    return [
        judged(
            CHANGE,
            feature,
            value,
            rows * now,
            counts.positives[value] * now,
            rows * then,
            counts.positives[value] * then,
            spans.month,
            spans.before,
        )
        for value, rows in sorted(counts.rows.items())
    ]


def judged(
    statistic: str,
    feature: str,
    value: str,
    rows: Doubles,
    positives: Doubles,
    base_rows: Doubles,
    base_positives: Doubles,
    span: tuple[date, date],
    base_span: tuple[date, date],
) -> Row:
    """One comparison of two shares (of counts: means) as a row without its q-value."""
    total, hits = int(rows.sum()), int(positives.sum())
    low, high = wilson(hits, total)
    found = difference(rows, positives, base_rows, base_positives)
    return row_of(statistic, feature, value, span, base_span) | {
        "days": int((rows > 0).sum()),
        "rows": total,
        "positives": hits,
        "share": hits / total if total else math.nan,
        "share_low": low,
        "share_high": high,
        "base_share": float(base_positives.sum() / base_rows.sum()) if base_rows.sum() else math.nan,
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "p_value": found.p_value,
    }


def row_of(
    statistic: str, feature: str, value: str | None, span: tuple[date, date], base_span: tuple[date, date]
) -> Row:
    """What every row has: what it is about, and every figure empty."""
    days = zip(("from_ds", "to_ds", "base_from_ds", "base_to_ds"), (*span, *base_span), strict=True)
    empty = dict.fromkeys(column.name for column in STATISTICS.columns)
    return {
        **empty,
        "statistic": statistic,
        "feature": feature,
        "value": value,
        **{name: day.isoformat() for name, day in days},
    }


def bins_of(rows: DataFrame, features: Sequence[Feature]) -> dict[str, list[float]]:
    """The borders of each numeric feature's bins: its deciles, each once."""
    names = [feature.name for feature in features if feature.kind == "numeric"]
    levels = [number / BINS for number in range(1, BINS)]
    if not names:
        return {}
    found = rows.select(*(F.percentile_approx(F.nanvl(F.col(n), F.lit(None)), levels).alias(n) for n in names)).first()
    return {name: sorted(set(found[name] or [])) for name in names} if found is not None else {}


def bin_of(feature: Feature, borders: Sequence[float]) -> Column:
    """The bin of a value as text: the number of borders below it, or the value itself of a categorical feature."""
    column = F.col(feature.name)
    if feature.kind == "categorical":
        return F.coalesce(column, F.lit("(none)"))
    above = [(column > F.lit(border)).cast("int") for border in borders]
    number = sum(above[1:], above[0]) if above else F.lit(0)
    return F.when(column.isNull() | F.isnan(column), F.lit("(none)")).otherwise(number.cast("string"))


def drift_rows(rows: DataFrame, features: Sequence[Feature], spans: Spans) -> list[Row]:
    """How far each feature's values of this month are from those of the month before."""
    if spans.before is None:
        return []
    now, then = of_days(rows, *spans.month), of_days(rows, *spans.before)
    borders = bins_of(then, features)
    binned = [bin_of(feature, borders.get(feature.name, [])).alias(feature.name) for feature in features]
    both = now.select(F.lit(1).alias("now"), *binned).unionByName(then.select(F.lit(0).alias("now"), *binned))
    names = [feature.name for feature in features]
    long = both.unpivot("now", tuple(names), "feature", "bin").groupBy("feature", "bin")
    counted = long.agg(F.sum("now").alias("now"), F.sum(1 - F.col("now")).alias("then")).collect()
    found = []
    for name in names:
        counts = [(row["now"], row["then"]) for row in counted if row["feature"] == name]
        pairs = np.array(counts, dtype=np.float64).reshape(-1, 2)  # of no rows too
        index = stability_index(pairs[:, 0], pairs[:, 1])
        found.append(
            row_of(DRIFT, name, None, spans.month, spans.before) | {"psi": index, "rows": int(pairs[:, 0].sum())}
        )
    return found


def with_q_values(rows: Iterable[Row]) -> list[Row]:
    """Add the q-values, over the rows of the same statistic and feature."""
    families: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        families.setdefault((row["statistic"], row["feature"]), []).append(row)
    done = []
    for family in families.values():
        p_values = [math.nan if row["p_value"] is None else row["p_value"] for row in family]
        done += [row | {"q_value": q} for row, q in zip(family, benjamini_hochberg(p_values), strict=True)]
    return done


def without_nan(row: Row) -> Row:
    """What could not be computed is null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def compute(spark: SparkSession, use_case: UseCase, run_id: str) -> int:
    """Write the statistics as of the last day with closed labels; returns how many rows. A repeat replaces them.

    Labels that were closed while it computed may not have been read: then it computes again.
    """
    create_tables(spark, use_case)
    for _ in range(ROUNDS):
        began = datetime.now(UTC)
        rows = _compute(spark, use_case, run_id)
        closed = book.last_closed(use_case, book.LABELLING)
        if closed is None or closed < began:
            break
        log.info("labels were closed meanwhile")
    return rows


def _compute(spark: SparkSession, use_case: UseCase, run_id: str) -> int:
    closed = sorted(map(date.fromisoformat, book.closed_days(use_case, book.LABELLING)))
    if not closed:
        log.info("no day has closed labels yet")
        return 0
    spans = Spans(closed[0], closed[-1])
    shuffle_by_span(spark, len(closed))
    rows = labelled(spark, use_case, use_case.slices, spans.first, spans.last).persist()
    found: list[Row] = []
    for feature in use_case.slices:
        counts = counts_by_day(rows, feature)
        found += share_rows(counts, feature, spans) + change_rows(counts, feature, spans)
    if use_case.target.kind == "count":
        # The interval is of shares alone; differences of means stand by their days.
        found = [row | {"share_low": None, "share_high": None} for row in found]
    rows.unpersist()
    features = use_case.features.features
    compared = spans.before or spans.month
    rows = labelled(spark, use_case, [feature.name for feature in features], compared[0], spans.last).persist()
    found += drift_rows(rows, features, spans)
    stamp = {"run_id": run_id, "ds": spans.last.isoformat()}
    columns = [column.name for column in STATISTICS.columns]
    values = [[(row | stamp)[name] for name in columns] for row in map(without_nan, with_q_values(found))]
    schema = ", ".join(f"`{column.name}` {column.type}" for column in STATISTICS.columns)
    replace_days(spark.createDataFrame(values, schema), use_case.name, STATISTICS, [spans.last], run_id)
    rows.unpersist()
    log.info("%d statistics as of %s, over the days from %s on", len(values), spans.last, spans.first)
    return len(values)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the job."""
    args = run_arguments(argv, __doc__)
    use_case = load_use_case(args.use_case)
    spark = start_job(f"compute_statistics {args.use_case}")
    compute(spark, use_case, args.run_id)
    spark.stop()


if __name__ == "__main__":
    main()
