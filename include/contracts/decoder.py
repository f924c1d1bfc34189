"""A contract compiled to a msgspec decoder: the quick way in for records that are plainly good.

What it takes, ``validator`` takes too, with the same values; what it refuses is not therefore bad: the validator then
gives the verdict, in words. So no answer depends on it, only its speed. Times are decoded as texts of the contract's
form and become seconds since 1970 (UTC) in ``seconds_of``. It does not know HTTP, Kafka or any domain.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from include.contracts.contract import TIMESTAMP_TEXT, Contract, Field

#: Integers of at most 18 digits, as the contract's texts have them; doubles whose text is of the contract's form.
LARGEST_INTEGER = 10**18 - 1
LARGEST_DOUBLE = 1e17
TIMES_REMEMBERED = 1 << 16
_is_time = re.compile(TIMESTAMP_TEXT).fullmatch


@lru_cache
def record_type(contract: Contract) -> type[msgspec.Struct]:
    """A struct with the contract's fields; unknown fields are refused, absent ones are None where they may be."""
    fields = [_declaration(field) for field in sorted(contract.fields, key=lambda field: field.nullable)]
    return msgspec.defstruct(f"{contract.name}_record", fields, forbid_unknown_fields=True, gc=False)


def _declaration(field: Field) -> tuple[str, Any] | tuple[str, Any, None]:
    kind = _type(field)
    return (field.name, kind | None, None) if field.nullable else (field.name, kind)


def _type(field: Field) -> Any:
    if field.type == "timestamp":
        return Annotated[str, Meta(min_length=20, max_length=20)]
    if field.type == "string":
        if field.allowed is not None:
            return Literal[tuple(text for text in field.allowed if len(text) <= field.max_length)]
        return Annotated[str, Meta(min_length=1, max_length=field.max_length)]
    largest = LARGEST_INTEGER if field.type == "integer" else LARGEST_DOUBLE
    low = -largest if field.minimum is None else max(field.minimum, -largest)
    high = largest if field.maximum is None else min(field.maximum, largest)
    if field.type == "integer":
        return Annotated[int, Meta(ge=-(int(-low) // 1), le=int(high // 1))]
    return Annotated[float, Meta(ge=float(low), le=float(high))]


@lru_cache(TIMES_REMEMBERED)
def seconds_of(text: str | None) -> int | None:
    """Seconds since 1970 of a time in the contract's form; raises ``ValueError`` for any other text.

    Remembered: many records share a few times.
    """
    if text is None:
        return None
    if not _is_time(text):
        raise ValueError(text)
    return int(datetime.fromisoformat(text).timestamp())


def time_of(seconds: int) -> datetime:
    """The UTC time that many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC)
