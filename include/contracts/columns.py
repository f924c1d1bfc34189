"""A contract compiled to Spark columns: the judgement of a DataFrame of texts, in batch and in streaming.

Column expressions only (no Python worker), so that it also runs where Spark allows no Python operator. The same
verdicts and words as ``validator``; a test holds the two equal. Session time zone must be UTC.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from include.contracts import reasons
from include.contracts.contract import Contract, Field, MomentRule

#: Prefix of the columns that hold the texts while they are judged.
TEXT = "text of "


def judged(rows: DataFrame, contract: Contract, nested: Mapping[str, Column] | None = None) -> DataFrame:
    """Type and judge ``rows``, whose contract fields are text columns (empty = null); other columns pass through.

    ``nested`` tells, per field, where an object or a list stood in the place of a text (only JSON can carry one).

    Adds ``reasons`` (array of texts, empty for a good row), ``available_at`` and ``moment`` (timestamps, UTC).
    A value that cannot be typed becomes null. A field that ``rows`` lacks counts as null.
    """
    present = set(rows.columns)
    texts = {
        field.name: text_of(F.col(field.name) if field.name in present else F.lit(None).cast("string"))
        for field in contract.fields
    }
    carried = [F.col(name) for name in rows.columns if name not in texts]
    kept = [texts[field.name].alias(TEXT + field.name) for field in contract.fields]
    values = [typed(field, texts[field.name]).alias(field.name) for field in contract.fields]
    # Two selections, so that Spark parses each text once and not once per rule.
    parsed = rows.select(*values, *carried, *kept)
    verdicts = (_verdict(field, (nested or {}).get(field.name)) for field in contract.fields)
    judgement = those_given(*verdicts, _announced_too_early(contract))
    fields = [F.col(name) for name in contract.field_names]
    return with_times(parsed.select(*fields, *carried, judgement.alias("reasons")), contract)


def those_given(*texts: Column) -> Column:
    """An array of those of different texts that are not null.

    ``array_compact`` is a function of higher order: Spark interprets its arguments, row by row, all the rules of a
    contract with them, instead of compiling them.
    """
    return F.array_except(F.array(*texts), F.array(F.lit(None).cast("string")))


def with_times(facts: DataFrame, contract: Contract) -> DataFrame:
    """Add ``available_at`` and ``moment`` (the later of event and availability) to typed facts."""
    available = time_column(contract.available_time)
    moment = F.greatest(available, time_column(contract.event_time))
    return facts.withColumns({"available_at": available, "moment": moment})


def time_column(rule: MomentRule) -> Column:
    """The timestamp that ``rule`` derives from its field."""
    start = F.date_trunc("DAY", F.col(rule.field)) if rule.day_start else F.col(rule.field)
    return start + F.expr(f"INTERVAL {rule.plus_minutes} MINUTE") if rule.plus_minutes else start


def text_of(column: Column) -> Column:
    """The column's text; empty counts as null, as in CSV."""
    text = column.cast("string")
    return F.when(text != "", text)


def typed(field: Field, text: Column) -> Column:
    """The value of ``text``, or null where it is not of the field's form."""
    if field.type == "string":
        return text
    proper = F.when(text.rlike(whole(reasons.FORMS[field.type][0])), text)
    if field.type == "double":
        number = proper.try_cast("double")
        return F.when(F.abs(number) != float("inf"), number)
    return proper.try_cast("bigint" if field.type == "integer" else "timestamp")


def whole(pattern: str) -> str:
    """The pattern anchored to the whole text (Java's ``$`` would let a final newline pass)."""
    return rf"\A(?:{pattern})\z"


def reason(field: Field) -> Column:
    """The first reason to reject a field's text, or null."""
    text = F.col(TEXT + field.name)
    quoted = F.concat(F.lit(f"{field.name}: '"), F.substring(text, 1, reasons.QUOTED), F.lit("' "))
    cases = [(wrong, F.concat(quoted, F.lit(words))) for wrong, words in faults(field)]
    if not field.nullable:
        cases.insert(0, (text.isNull(), F.lit(f"{field.name}: {reasons.REQUIRED}")))
    no_reason = F.lit(None).cast("string")
    return reduce(lambda rest, case: F.when(case[0], case[1]).otherwise(rest), reversed(cases), no_reason)


def _verdict(field: Field, nested: Column | None) -> Column:
    if nested is None:
        return reason(field)
    return F.when(nested, F.lit(f"{field.name}: {reasons.NOT_SINGLE}")).otherwise(reason(field))


def _announced_too_early(contract: Contract) -> Column:
    """The reason to reject a fact that was known too long before its event, or null."""
    ahead = F.datediff(time_column(contract.event_time), time_column(contract.available_time))
    return F.when(ahead > contract.announced_days, F.lit(reasons.announced_too_early(contract)))


def faults(field: Field) -> list[tuple[Column, str]]:
    """What can be wrong with a value that is there, in the order of judgement, with the words for it."""
    text, value = F.col(TEXT + field.name), F.col(field.name)
    found: list[tuple[Column, str]] = []
    if field.type == "string":
        found.append((F.length(text) > field.max_length, reasons.too_long(field)))
    else:
        found.append((text.isNotNull() & value.isNull(), reasons.FORMS[field.type][1]))
    if field.minimum is not None:
        found.append((value < bound(field, field.minimum), reasons.below(field)))
    if field.maximum is not None:
        found.append((value > bound(field, field.maximum), reasons.above(field)))
    if field.allowed is not None:
        found.append((~text.isin(*field.allowed), reasons.not_allowed(field)))
    return found


def bound(field: Field, value: float) -> Column:
    """The bound as a literal of the field's type, so that big integers compare exactly."""
    return F.lit(int(value)).cast("bigint") if field.type == "integer" else F.lit(float(value))


def schema_differences(header: Sequence[str], contract: Contract) -> str:
    """Say how a landing file's header differs from the contract; empty if it does not (order does not matter)."""
    expected, found = contract.field_names, list(header)
    lines = {
        "lacks": [name for name in expected if name not in found],
        "has unknown": sorted({name for name in found if name not in expected}),
        "repeats": sorted({name for name in found if found.count(name) > 1}),
    }
    parts = [f"{what} {', '.join(repr(name) for name in names)}" for what, names in lines.items() if names]
    if not parts:
        return ""
    return f"the file {'; '.join(parts)} (contract {contract.name!r} version {contract.version}: {', '.join(expected)})"
