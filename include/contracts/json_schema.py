"""A contract written as JSON Schema, for producers in any language.

``python -m include.contracts.json_schema USE_CASE docs/schemas`` publishes one file per source and one for the
subject. A schema cannot say that a date exists or that a text was empty: the contract's own judgement is stricter.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from include.contracts.contract import DOUBLE_TEXT, INTEGER_TEXT, TIMESTAMP_TEXT, Contract, Field
from include.use_case import UseCase, load_use_case

TEXT_FORMS = {"integer": INTEGER_TEXT, "double": DOUBLE_TEXT}
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def field_schema(field: Field) -> dict[str, Any]:
    """The schema of one field: its type, with null if it may be, bounds and allowed values."""
    kind = {"integer": "integer", "double": "number"}.get(field.type, "string")
    schema: dict[str, Any] = {"type": [kind, "null"] if field.nullable else kind, "description": field.comment}
    if field.type == "timestamp":
        schema |= {"format": "date-time", "pattern": f"^{TIMESTAMP_TEXT}$"}
    if field.type == "string":
        schema |= {"maxLength": field.max_length} | ({} if field.nullable else {"minLength": 1})
    schema |= {
        name: value for name, value in (("minimum", field.minimum), ("maximum", field.maximum)) if value is not None
    }
    if field.allowed is not None:
        schema["enum"] = [*field.allowed, *([None] if field.nullable else [])]
    return schema


def contract_schema(contract: Contract, use_case: str) -> dict[str, Any]:
    """The schema of one fact (a JSON object) of ``contract``; unknown fields are allowed and ignored."""
    return {
        "$schema": DRAFT,
        "title": f"{use_case}.{contract.name}",
        "description": f"{contract.comment} (version {contract.version})",
        "type": "object",
        "properties": {field.name: field_schema(field) for field in contract.fields},
        "required": [field.name for field in contract.fields if not field.nullable],
        "additionalProperties": True,
    }


def schema_files(use_case: UseCase) -> dict[str, str]:
    """File name -> text of every schema that a use case's contracts publish."""
    return {
        f"{use_case.name}.{contract.name}.json": json.dumps(contract_schema(contract, use_case.name), indent=2) + "\n"
        for contract in (*use_case.sources, use_case.subject)
    }


def publish(files: Callable[[UseCase], Mapping[str, str]]) -> None:
    """Write the schema files of one use case into a folder, both named on the command line."""
    parser = argparse.ArgumentParser(description=publish.__doc__)
    parser.add_argument("use_case")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name, text in files(load_use_case(arguments.use_case)).items():
        (arguments.folder / name).write_text(text)
        print(arguments.folder / name)


if __name__ == "__main__":
    publish(schema_files)
