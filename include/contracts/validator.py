"""A contract compiled to a Python function: the judgement of one record, for the predictor.

JSON scalars are put into the text that CSV would carry, then judged with the rules and words of ``columns``.
It does not know Spark, HTTP or Kafka.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from include.contracts import reasons
from include.contracts.contract import Contract, Field, MomentRule

Value = str | int | float | datetime | None


@dataclass(frozen=True)
class Valid:
    """A record that its contract accepts: typed values (timestamps aware, UTC), and the fact's two times."""

    values: Mapping[str, Value]
    available_at: datetime | None
    moment: datetime | None


def validate(record: Mapping[str, object], contract: Contract) -> Valid | list[str]:
    """Type and judge one record; returns the reasons to reject it, in the order of the contract, if there are any.

    Fields that the contract does not know are ignored; a missing one counts as null.
    """
    values: dict[str, Value] = {}
    found: list[str] = []
    for field in contract.fields:
        given = record.get(field.name)
        if isinstance(given, dict | list):
            found.append(f"{field.name}: {reasons.NOT_SINGLE}")
            continue
        text = text_of(given)
        value = None if text is None else typed(field, text)
        values[field.name] = value
        found.extend(reason(field, text, value))
    event, available = time_of(values, contract.event_time), available_at(values, contract)
    if event and available and (event.date() - available.date()).days > contract.announced_days:
        found.append(reasons.announced_too_early(contract))
    moment = max((time for time in (event, available) if time is not None), default=None)
    return found or Valid(values, available, moment)


def text_of(value: object) -> str | None:
    """The canonical text of a JSON value: null and ``""`` are None, numbers and booleans as Spark writes them."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return double_text(value) if isinstance(value, float) else json.dumps(value, default=str)


def double_text(value: float) -> str:
    """A double as Spark writes it (Java's ``Double.toString``): 1000.0, 1.0E7, 1.0E-4, NaN, Infinity."""
    if not math.isfinite(value):
        return json.dumps(value)
    sign, numbers, exponent = Decimal(repr(value)).as_tuple()
    digits, point = "".join(map(str, numbers)).rstrip("0") or "0", len(numbers) + int(exponent)
    minus = "-" if sign else ""
    if value == 0:
        return f"{minus}0.0"
    if -3 < point <= 7:
        padded = digits.ljust(point, "0") if point > 0 else "0" * (1 - point) + digits
        whole = max(point, 1)
        return f"{minus}{padded[:whole]}.{padded[whole:] or '0'}"
    return f"{minus}{digits[0]}.{digits[1:] or '0'}E{point - 1}"


def typed(field: Field, text: str) -> Value:
    """The value of ``text``, or None where it is not of the field's form."""
    if field.type == "string":
        return text
    if not form(field).fullmatch(text):
        return None
    if field.type == "integer":
        return int(text)
    if field.type == "double":
        number = float(text)
        return number if math.isfinite(number) else None
    return parse_time(text)


@lru_cache
def form(field: Field) -> re.Pattern[str]:
    """The compiled pattern of the field's type."""
    return re.compile(reasons.FORMS[field.type][0])


def parse_time(text: str) -> datetime | None:
    """The UTC time that ``text`` names, or None if the calendar has no such time."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def reason(field: Field, text: str | None, value: Value) -> list[str]:
    """The first reason to reject the value, in a list; empty if there is none."""
    if text is None:
        return [] if field.nullable else [f"{field.name}: {reasons.REQUIRED}"]
    words = fault(field, text, value)
    return [] if words is None else [f"{field.name}: '{text[: reasons.QUOTED]}' {words}"]


def fault(field: Field, text: str, value: Value) -> str | None:
    """What is wrong with a value that is there, in the words of ``reasons``, or None."""
    if value is None:
        return reasons.FORMS[field.type][1]
    if field.type == "string" and len(text) > field.max_length:
        return reasons.too_long(field)
    if isinstance(value, int | float) and field.minimum is not None and value < field.minimum:
        return reasons.below(field)
    if isinstance(value, int | float) and field.maximum is not None and value > field.maximum:
        return reasons.above(field)
    if field.allowed is not None and text not in field.allowed:
        return reasons.not_allowed(field)
    return None


def time_of(values: Mapping[str, Value], rule: MomentRule) -> datetime | None:
    """The time that ``rule`` derives from its field, or None if that is null."""
    start = values.get(rule.field)
    if not isinstance(start, datetime):
        return None
    if rule.day_start:
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    return start + timedelta(minutes=rule.plus_minutes)


def available_at(values: Mapping[str, Value], contract: Contract) -> datetime | None:
    """When the fact could first be known."""
    return time_of(values, contract.available_time)
