"""The words in which a contract rejects a value: one wording for Spark (``columns``) and Python (``validator``).

A reason names the field, quotes at most ``QUOTED`` characters of the value and says what is wrong with it.
"""

from include.contracts.contract import DOUBLE_TEXT, INTEGER_TEXT, TIMESTAMP_TEXT, Contract, Field, FieldType

QUOTED = 60
REQUIRED = "required"
#: Only JSON can carry an object or a list; a landing file cannot.
NOT_SINGLE = "must be a single value, not an object or a list"
NOT_OBJECT = "is not a JSON object"

#: Type -> (the text it looks like, what the reason calls it). A string may be any text.
FORMS: dict[FieldType, tuple[str, str]] = {
    "integer": (INTEGER_TEXT, "is not an integer"),
    "double": (DOUBLE_TEXT, "is not a number"),
    "timestamp": (TIMESTAMP_TEXT, "is not a UTC time like 2013-01-31T23:59:00Z"),
}


def bound_text(bound: float) -> str:
    """Write a bound without a useless fraction: 2000, not 2000.0."""
    return str(int(bound)) if float(bound).is_integer() else repr(float(bound))


def too_long(field: Field) -> str:
    """What is wrong with a text that is too long."""
    return f"is longer than {field.max_length} characters"


def not_allowed(field: Field) -> str:
    """What is wrong with a text outside the allowed ones."""
    return f"is not one of {', '.join(field.allowed or ())}"


def below(field: Field) -> str:
    """What is wrong with a number under the minimum."""
    return f"is below {bound_text(field.minimum or 0)}"


def above(field: Field) -> str:
    """What is wrong with a number over the maximum."""
    return f"is above {bound_text(field.maximum or 0)}"


def announced_too_early(contract: Contract) -> str:
    """The reason to reject a fact that was known longer before its event than the contract says."""
    return (
        f"{contract.event_time.field}: is more than {contract.announced_days} day(s) after the day on which the fact "
        "became known"
    )
