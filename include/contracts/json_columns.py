"""JSON messages as the text columns that a contract judges: for streaming, in column expressions only.

A number counts as the text that Spark writes for it, null and ``""`` as absent; unknown fields are ignored; of a field
that occurs twice the last value counts. What is no JSON object, or an object or list where a single value belongs, is
told in the words of ``reasons``. The same verdicts as ``validator`` on the parsed message; a test holds the two equal.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from include.contracts import reasons
from include.contracts.columns import judged, those_given
from include.contracts.contract import Contract

VALUE = "value"
#: A judged message's text: Kafka calls it ``value``, as a fact may well call one of its fields.
MESSAGE = "text of the message"
#: The parsed message while it is judged: names that no field can have.
_FIELDS, _VARIANT, _IS_OBJECT, _NESTED = "fields of the message", "the message", "is object", "nested fields"
JSON_OPTIONS = {"allowNonNumericNumbers": "false"}


def judged_messages(messages: DataFrame, contract: Contract) -> DataFrame:
    """Type and judge JSON texts in the column ``value``, from then on ``MESSAGE``; other columns pass through.

    Adds the contract's fields (typed), ``reasons``, ``available_at`` and ``moment`` as ``columns.judged`` does. A text
    that is no JSON object has null fields and one reason.
    """
    schema = ", ".join(f"`{name}` string" for name in contract.field_names)
    parsed = messages.withColumns(
        {_FIELDS: F.from_json(VALUE, schema, JSON_OPTIONS), _VARIANT: F.try_parse_json(F.col(VALUE))}
    )
    nested = {name: _is_nested(name) for name in contract.field_names}
    flags = those_given(*(F.when(nested[name], F.lit(name)) for name in contract.field_names))
    texts = [F.when(~nested[n], F.col(_FIELDS).getField(n)).alias(n) for n in contract.field_names]
    carried = [F.col(name).alias(MESSAGE if name == VALUE else name) for name in messages.columns]
    rows = parsed.select(*texts, *carried, _is_object().alias(_IS_OBJECT), flags.alias(_NESTED))
    single = {name: F.array_contains(_NESTED, name) for name in contract.field_names}
    verdicts = judged(rows, contract, single)
    no_object = F.array(F.lit(f"message: {reasons.NOT_OBJECT}"))
    told = F.when(F.col(_IS_OBJECT), F.col("reasons")).otherwise(no_object)
    return verdicts.withColumn("reasons", told).drop(_IS_OBJECT, _NESTED)


def text_field(name: str, message: str = VALUE) -> Column:
    """A field of the JSON text in a column as text, or null: for fields that belong to no contract."""
    return F.try_variant_get(F.try_parse_json(F.col(message)), f"$.{name}", "string")


def _is_object() -> Column:
    return F.try_variant_get(_VARIANT, "$", "map<string,variant>").isNotNull()


def _is_nested(name: str) -> Column:
    """Whether the field holds an object or a list."""
    kinds = ("map<string,variant>", "array<variant>")
    one, other = (F.try_variant_get(_VARIANT, f"$.{name}", kind).isNotNull() for kind in kinds)
    return F.coalesce(one | other, F.lit(False))
