"""The description of the HTTP interface (OpenAPI 3.1) and the schemas of its answers, made from the contracts.

``python -m speed_service.openapi flight_delay docs/schemas`` writes the schemas of Kafka's predictions and
rejections; a test fails when the files differ from what this module makes, so neither can drift from the code.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from include.contracts.contract import TIMESTAMP_TEXT, Field
from include.contracts.json_schema import DRAFT, contract_schema
from include.use_case import UseCase, load_use_case

Schema = dict[str, Any]

EXAMPLES: dict[str, object] = {"integer": 1, "double": 1.0, "timestamp": "2013-01-29T10:15:00Z"}
MOMENT: Schema = {"type": "string", "format": "date-time", "pattern": f"^{TIMESTAMP_TEXT}$"}
TEXT: Schema = {"type": "string"}


def subject_schema(use_case: UseCase) -> Schema:
    """The contract of a subject; over HTTP an unknown field is an error, since it may be a misspelt known one."""
    schema = contract_schema(use_case.subject, use_case.name)
    del schema["$schema"]
    return {**schema, "additionalProperties": False, "examples": [example_subject(use_case)]}


def prediction_schema(use_case: UseCase) -> Schema:
    """One prediction: what HTTP answers per subject."""
    sources = sorted({window.tile.source for window in use_case.features.windows})
    return {
        "type": "object",
        "properties": {
            "id": {**TEXT, "description": "The subject's id"},
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
            "as_of": {
                "type": "object",
                "description": "Per source, the minute before which its facts were visible; null when none was",
                "properties": {source: {**MOMENT, "type": ["string", "null"]} for source in sources},
                "required": sources,
                "additionalProperties": False,
            },
            "degraded": {"type": "boolean", "description": "as_of of a source lies too far back, or has a gap"},
        },
        "required": ["id", "probability", "as_of", "degraded"],
        "additionalProperties": False,
    }


def answer_schema() -> Schema:
    """The answer to a predict request, with ``$ref`` to the prediction."""
    return {
        "type": "object",
        "properties": {
            "model_id": {**TEXT, "description": "The bundle that answered"},
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
        },
        "required": ["model_id", "predictions"],
        "additionalProperties": False,
    }


def problem_schema() -> Schema:
    """RFC 9457 problem details; ``errors`` names each field at fault."""
    error = {"type": "object", "properties": {"field": TEXT, "reason": TEXT}, "required": ["field", "reason"]}
    return {
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "errors": {"type": "array", "items": error},
        },
        "required": ["type", "title", "status", "detail"],
    }


def example_subject(use_case: UseCase) -> dict[str, object]:
    """A subject that satisfies the contract, made from it; it need not exist."""
    return {field.name: _example(field) for field in use_case.subject.fields if not field.nullable}


def _example(field: Field) -> object:
    if field.allowed:
        return field.allowed[0]
    if field.type == "string":
        return "EXAMPLE"[: field.max_length]
    if field.type != "timestamp" and field.minimum is not None:
        return int(field.minimum) if field.type == "integer" else field.minimum
    return EXAMPLES[field.type]


def document(use_case: UseCase, max_subjects: int) -> Schema:
    """The whole OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{use_case.name} predictor", "version": "1", "description": use_case.comment},
        "paths": _paths(use_case, max_subjects),
        "components": {
            "schemas": {
                "Subject": subject_schema(use_case),
                "Prediction": prediction_schema(use_case),
                "Answer": answer_schema(),
                "Problem": problem_schema(),
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(use_case: UseCase, max_subjects: int) -> Schema:
    model = {"get": _get("The model that is served", "application/json", {"type": "object"}, (404, 503))}
    return {
        f"/v1/{use_case.name}/predict": {"post": _predict(max_subjects)},
        f"/v1/{use_case.name}/model": model,
        "/healthz": {"get": _get("The process is alive", "application/json", {"type": "object"})},
        "/readyz": {"get": _get("A model and tiles are loaded", "application/json", {"type": "object"}, (503,))},
        "/metrics": {"get": _get("Prometheus metrics", "text/plain", TEXT)},
        "/openapi.json": {"get": _get("This document", "application/json", {"type": "object"})},
        "/": {"get": _get("A page for people", "text/html", TEXT)},
    }


def _predict(max_subjects: int) -> Schema:
    subjects = {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Subject"},
        "minItems": 1,
        "maxItems": max_subjects,
    }
    body = {
        "type": "object",
        "properties": {"subjects": subjects},
        "required": ["subjects"],
        "additionalProperties": False,
    }
    return {
        "summary": "Probabilities for one or many subjects, in their order",
        "operationId": "predict",
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _content("Predictions", "application/json", {"$ref": "#/components/schemas/Answer"}),
            **_problems((400, 401, 404, 413, 415, 422, 503)),
        },
    }


def _get(summary: str, kind: str, schema: Schema, problems: tuple[int, ...] = ()) -> Schema:
    return {"summary": summary, "responses": {"200": _content(summary, kind, schema), **_problems(problems)}}


def _problems(statuses: tuple[int, ...]) -> Schema:
    problem = {"$ref": "#/components/schemas/Problem"}
    return {str(s): _content("Why there is no answer", "application/problem+json", problem) for s in statuses}


def _content(description: str, kind: str, schema: Schema) -> Schema:
    return {"description": description, "content": {kind: {"schema": schema}}}


def schema_files(use_case: UseCase) -> dict[str, Schema]:
    """File name -> published schema of an answer to one query and of a rejection, as they travel on Kafka."""
    prediction, rejection = prediction_schema(use_case), problem_schema()
    prediction["properties"] = {"model_id": TEXT, **prediction["properties"]}
    prediction["required"] = ["model_id", *prediction["required"]]
    rejection["properties"] = {"id": {**TEXT, "type": ["string", "null"]}, **rejection["properties"]}
    kinds = {"predictions": ("The answer to one query", prediction), "rejected": ("Why a query has none", rejection)}
    return {
        f"{use_case.name}.{name}.json": {
            "$schema": DRAFT,
            "title": f"{use_case.name}.{name}",
            "description": words,
            **schema,
        }
        for name, (words, schema) in kinds.items()
    }


def main() -> None:
    """Write the schema files of one use case into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("use_case")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name, schema in schema_files(load_use_case(arguments.use_case)).items():
        (arguments.folder / name).write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
