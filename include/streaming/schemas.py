"""The speed layer's messages as JSON Schema, for producers and consumers in any language.

``python -m include.streaming.schemas USE_CASE docs/schemas`` publishes one file per kind of message beside those of
the contracts (``include.contracts.json_schema``); a test fails when the files differ from what this module makes. It
declares shapes only: what is sent is ``messages`` and the speed service, and tests hold both against these schemas.
"""

import json
from typing import Any

from include.contracts.contract import TIMESTAMP_TEXT
from include.contracts.json_schema import DRAFT, contract_schema, publish
from include.declaration import PREDICTION_TIME
from include.features.spec import Feature
from include.streaming.messages import HEARTBEAT_FIELD, PROBLEM_TYPE, QUERIES, RECORD_CHARACTERS, TITLES
from include.tiles.spec import Tile
from include.use_case import UseCase

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MOMENT: Schema = {"type": "string", "format": "date-time", "pattern": f"^{TIMESTAMP_TEXT}$"}
PRECISE: Schema = {**MOMENT, "pattern": f"^{TIMESTAMP_TEXT.removesuffix('Z')}(\\.[0-9]{{1,6}})?Z$"}
MINUTE: Schema = {**MOMENT, "pattern": f"^{TIMESTAMP_TEXT.removesuffix('[0-5][0-9]Z')}00Z$"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TILES_WORDS = "A tile or a progress; key: tile|<tile>|<minute>|<key> or progress|<source> (compacted)"


def record(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these properties and no other, all of them required but ``optional``."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def told(schema: Schema, description: str) -> Schema:
    """A schema with a description."""
    return {**schema, "description": description}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def prediction_properties(use_case: UseCase) -> Schema:
    """What every prediction says, over HTTP and over Kafka: ``id``, the answer, ``as_of``, ``degraded``."""
    target = use_case.target
    bounds = {"minimum": 0} if target.highest is None else {"minimum": 0, "maximum": target.highest}
    sources = sorted({window.tile.source for window in use_case.features.windows})
    as_of = record({source: nullable(MOMENT) for source in sources})
    return {
        "id": told(TEXT, "The subject's id"),
        target.answer: {"type": "number", **bounds},
        "as_of": told(as_of, "Per source, the minute before which its facts were visible; null when none was"),
        "degraded": {"type": "boolean", "description": "as_of of a source lies too far back, or has a gap"},
    }


def problem_properties() -> Schema:
    """RFC 9457 problem details; ``errors`` names each field at fault."""
    fault = {"type": "object", "properties": {"field": TEXT, "reason": TEXT}, "required": ["field", "reason"]}
    return {
        "type": {"type": "string", "format": "uri"},
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "errors": {"type": "array", "items": fault},
    }


def prediction_message(use_case: UseCase) -> Schema:
    """An answer to one query, as it is logged: with its features and what it was made by."""
    features = {feature.name: _feature(feature) for feature in use_case.features.features}
    return record(
        {
            **prediction_properties(use_case),
            PREDICTION_TIME: told(MOMENT, "With the id, what identifies the query"),
            "predicted_at": told(PRECISE, "When it was answered"),
            "via": {"enum": ["kafka", "http"]},
            "model_id": told(SHA256, "The bundle that answered"),
            "sequence": {"type": "integer", "minimum": 1, "description": "The ledger's line that promoted it"},
            "features": record(features),
            "features_hash": told(SHA256, "Of the definition that the features follow"),
        }
    )


def _feature(feature: Feature) -> Schema:
    kind = "string" if feature.kind == "categorical" else "number"
    return {"type": [kind, "null"], "description": feature.comment}


def rejection(use_case: UseCase) -> Schema:
    """Why a query has no answer, or why a fact was not counted."""
    sources = [QUERIES, *(contract.name for contract in use_case.sources)]
    problem = problem_properties()
    problem["type"] = {"enum": [PROBLEM_TYPE + kind for kind in TITLES]}
    return record(
        {
            "id": told(nullable(TEXT), "The id of what was rejected, where it has one"),
            "source": {"enum": sources, "description": "Where it came from"},
            **problem,
            "record": {**TEXT, "maxLength": RECORD_CHARACTERS, "description": "What was rejected, its beginning"},
            "time": told(PRECISE, "When it was rejected"),
        }
    )


def heartbeat() -> Schema:
    """What a producer sends on a source's topic besides facts; a message with this field is no fact."""
    words = "Every fact of this source that was available before this time has been sent"
    schema = record({HEARTBEAT_FIELD: told(MOMENT, words)})
    return {**schema, "additionalProperties": True}


def tiles_message(use_case: UseCase) -> Schema:
    """A tile as it is now, or how far a source has come."""
    return {"oneOf": [*(_tile_update(tile) for tile in use_case.tiles), _progress(use_case)]}


def _tile_update(tile: Tile) -> Schema:
    width = len(tile.measures)
    values = {"type": "array", "items": {"type": ["integer", "null"]}, "minItems": width, "maxItems": width}
    return record(
        {
            "type": {"const": "tile"},
            "tile": {"const": tile.name},
            "key": told(TEXT, "|".join(tile.key)),
            "minute": told(MINUTE, f"Facts of {tile.source} in this minute, as counted until now"),
            "values": told(values, ", ".join(tile.measure_names)),
        }
    )


def _progress(use_case: UseCase) -> Schema:
    return record(
        {
            "type": {"const": "progress"},
            "source": {"enum": [contract.name for contract in use_case.sources]},
            "since": told(MINUTE, "From when the stream has seen the source"),
            "closed": told(MINUTE, "Tiles before it are final"),
            "border": told(MINUTE, "Tiles before it may be looked at"),
        }
    )


def prepared_query(use_case: UseCase) -> Schema:
    """A query that Spark has judged and joined: every field of the contract, its prediction time resolved."""
    properties = dict(contract_schema(use_case.subject, use_case.name)["properties"])
    properties[PREDICTION_TIME] = told(MOMENT, "After it nothing may be known")
    references = use_case.features.references
    columns = {
        f"{reference.name}_{name}": {"type": ["number" if kind == "numeric" else "string", "null"]}
        for reference in references
        for name, kind in reference.columns.items()
    }
    versions = record({reference.name: SHA256 for reference in references})
    return record(
        {
            "subject": record(properties, tuple(f.name for f in use_case.subject.fields if f.nullable)),
            "references": told(record(columns), "The reference tables' columns, null where there is no such key"),
            "reference_versions": told(versions, "SHA-256 of the tables' plain CSV"),
        }
    )


def schema_files(use_case: UseCase) -> dict[str, str]:
    """File name -> text of the schema of each kind of message."""
    name = use_case.name
    kinds = {
        "predictions": ("The answer to one query; key: id", prediction_message(use_case)),
        "rejected": ("Why a query or a fact was not taken; key: id, or empty", rejection(use_case)),
        "tiles": (TILES_WORDS, tiles_message(use_case)),
        "prepared_queries": ("A query for the speed service; key: id", prepared_query(use_case)),
        "heartbeat": (f"On any topic {name}.<source>, beside its facts", heartbeat()),
    }
    return {f"{name}.{kind}.json": _text(f"{name}.{kind}", words, schema) for kind, (words, schema) in kinds.items()}


def _text(title: str, description: str, schema: Schema) -> str:
    head = {"$schema": DRAFT, "title": title, "description": description}
    return json.dumps({**head, **schema}, indent=2) + "\n"


if __name__ == "__main__":
    publish(schema_files)
