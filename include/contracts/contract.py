"""The declaration of a contract: fields, types, ranges, allowed values, and a fact's two times.

Pure data. It does not know Spark (see ``columns``), the predictor (see ``validator``) or any domain.
A value reaches a contract as text, the way CSV carries it; JSON scalars are put into the same text first,
so that one set of rules judges a landing file, a Kafka message and an HTTP request.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FieldType = Literal["string", "integer", "double", "timestamp"]

#: What each type looks like as text. Spark's ``rlike`` and Python's ``re.fullmatch`` read both alike.
INTEGER_TEXT = r"-?[0-9]{1,18}"
DOUBLE_TEXT = r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?"
TIMESTAMP_TEXT = r"(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"

#: Columns that stand beside a fact's fields while it is judged, kept, counted and compared.
RESERVED = frozenset(
    "ds run_id contract_version available_at moment landing_key landing_sha256 landing_line record reasons problem "
    "repeated label_day partition offset complete_through bucket as_of asked_about".split()
)


@dataclass(frozen=True)
class Field:
    """One field: its name, type, and the values it may take. Bounds are inclusive."""

    name: str
    type: FieldType
    comment: str
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str, ...] | None = None
    max_length: int = 64


@dataclass(frozen=True)
class MomentRule:
    """How a time follows from a timestamp field: optionally the start of its UTC day, plus minutes.

    ``MomentRule("observed_at", plus_minutes=60)`` is one hour after ``observed_at``;
    ``MomentRule("scheduled_departure", day_start=True, plus_minutes=-720)`` is noon (UTC) of the day before.
    """

    field: str
    plus_minutes: int = 0
    day_start: bool = False


@dataclass(frozen=True)
class Contract:
    """What one source's facts must look like, and when they happened and became known.

    ``key`` names the field that identifies a fact within its source. ``event_time`` is when it happened,
    ``available_time`` when anyone could have known it. ``announced_days`` is how many days ahead of its
    event a fact can become available (a timetable known the day before has 1): one that is known earlier is rejected.
    A fact's *day* is the UTC date of its availability.

    Raises ``ValueError`` saying what is wrong with the declaration.
    """

    name: str
    version: int
    comment: str
    fields: tuple[Field, ...]
    key: str
    event_time: MomentRule
    available_time: MomentRule
    announced_days: int = 0

    def __post_init__(self) -> None:
        if faults := list(self._faults()):
            raise ValueError(f"contract {self.name!r}: {'; '.join(faults)}")

    def _faults(self) -> Iterator[str]:
        names = [field.name.lower() for field in self.fields]  # Spark's columns know no case
        if taken := sorted(RESERVED.intersection(names)):
            yield f"fields may not be called {', '.join(taken)}, as columns of the project's own are"
        if several := sorted({name for name in names if names.count(name) > 1}):
            yield f"fields are there twice: {', '.join(several)}"
        if unfit := [field.name for field in self.fields if not field.name.isidentifier()]:
            yield f"fields are called {unfit}: letters, digits and underscores make a name"
        kept = {field.name: field for field in self.fields}
        if self.key not in kept or kept[self.key].nullable:
            yield f"its key {self.key!r} must be a field that may not be empty"
        for rule in (self.event_time, self.available_time):
            if rule.field not in kept or kept[rule.field].type != "timestamp":
                yield f"{rule.field!r}, which a time follows from, must be a field of type timestamp"
        if self.announced_days < 0:
            yield f"announced_days is {self.announced_days}, which is below 0"

    def field(self, name: str) -> Field:
        """Return the field called ``name``; raises ``KeyError`` if the contract has none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"contract {self.name!r} has no field {name!r}")

    @property
    def field_names(self) -> tuple[str, ...]:
        """The names of the fields, in the order of the contract."""
        return tuple(field.name for field in self.fields)
