"""The description of the HTTP interface (OpenAPI 3.1), made from the contracts and from what Kafka's messages share.

Tests hold it against the routes and against real answers. Kafka's messages are described by ``include.streaming``.
"""

from typing import Any

from include.contracts.contract import Field
from include.contracts.json_schema import contract_schema
from include.streaming.schemas import TEXT, prediction_properties, problem_properties, record
from include.use_case import UseCase

Schema = dict[str, Any]

EXAMPLES: dict[str, object] = {"integer": 1, "double": 1.0, "timestamp": "2013-01-29T10:15:00Z"}


def subject_schema(use_case: UseCase) -> Schema:
    """The contract of a subject; over HTTP an unknown field is an error, since it may be a misspelt known one."""
    schema = contract_schema(use_case.subject, use_case.name)
    del schema["$schema"]
    return {**schema, "additionalProperties": False, "examples": [example_subject(use_case)]}


def prediction_schema(use_case: UseCase) -> Schema:
    """One prediction: what HTTP answers per subject."""
    return record(prediction_properties(use_case))


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
    properties = problem_properties()
    return {"type": "object", "properties": properties, "required": [name for name in properties if name != "errors"]}


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
        "summary": "Predictions for one or many subjects, in their order",
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
