"""The published schemas are those of the code, and take the messages that the code makes and no others."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from include.streaming import messages
from include.streaming.messages import CONFLICTING, INVALID, LATE, PreparedQuery, Progress, TileUpdate, rejection
from include.streaming.schemas import schema_files
from include.use_case import load_use_case

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
USE_CASE = load_use_case("flight_delay")
FILES = schema_files(USE_CASE)
MINUTE = "2013-02-05T00:59:00Z"
SUBJECT: dict[str, Any] = {
    **{"id": "UA-1545-EWR-20130120T1515Z", "carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH"},
    **{"tailnum": None, "distance": 1400, "scheduled_departure": "2013-01-20T15:15:00Z"},
    "prediction_time": "2013-01-20T14:15:00Z",
}
NO_SUCH_KEY = {f"{r.name}_{column}": None for r in USE_CASE.features.references for column in r.columns}
VERSIONS = {reference.name: "0" * 64 for reference in USE_CASE.features.references}


def takes(kind: str, message: Any) -> bool:
    """Whether a kind's schema takes a message, which is given as a struct or as what its JSON would hold."""
    schema = json.loads(FILES[f"flight_delay.{kind}.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    value = message if isinstance(message, dict) else json.loads(messages.encode(message))
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("use_case", ["flight_delay", "bike_share"])
def test_published_schemas_are_current(use_case: str) -> None:
    for name, text in schema_files(load_use_case(use_case)).items():
        path = SCHEMAS / name
        assert path.exists() and path.read_text() == text, (
            f"run: python -m include.streaming.schemas {use_case} docs/schemas"
        )


@pytest.mark.parametrize("tile", USE_CASE.tiles, ids=lambda tile: tile.name)
def test_tiles(tile: Any) -> None:
    values: list[int | None] = [1] * len(tile.measures)
    assert takes("tiles", TileUpdate(tile.name, "K", MINUTE, values))
    assert takes("tiles", TileUpdate(tile.name, "K", MINUTE, [None, *values[1:]]))
    assert not takes("tiles", TileUpdate(tile.name, "K", MINUTE, [*values, 1])), "a measure too many"
    assert not takes("tiles", TileUpdate(tile.name, "K", "2013-02-05T00:59:01Z", values)), "not a whole minute"
    assert not takes("tiles", TileUpdate(f"{tile.name}_2", "K", MINUTE, values)), "no such kind"


def test_progress() -> None:
    assert takes("tiles", Progress("departures", MINUTE, MINUTE, MINUTE))
    assert not takes("tiles", Progress("queries", MINUTE, MINUTE, MINUTE))


@pytest.mark.parametrize(
    ("source", "kind"), [("queries", INVALID), ("departures", LATE), ("weather", CONFLICTING), ("arrivals", INVALID)]
)
@pytest.mark.parametrize("identity", ["some-id", "x" * 600_000, None])
def test_rejections(source: str, kind: str, identity: str | None) -> None:
    told = rejection(identity, source, kind, [], "{}", "2026-11-24T11:00:00Z")
    assert len(messages.encode(told)) < 10_000, "a broker takes no more than a million bytes"
    for time in ("2026-11-24T11:00:00Z", "2026-11-24T11:00:00.123Z"):
        assert takes("rejected", rejection(identity, source, kind, ["distance: '-3' is below 1"], "x" * 2000, time))
    assert not takes("rejected", rejection(identity, "nowhere", kind, [], "{}", "2026-11-24T11:00:00Z"))


def test_prepared_queries() -> None:
    good = PreparedQuery(SUBJECT, dict(NO_SUCH_KEY), dict(VERSIONS))
    assert takes("prepared_queries", good)
    assert takes("prepared_queries", PreparedQuery(SUBJECT, {**NO_SUCH_KEY, "planes_year": 1999.0}, dict(VERSIONS)))
    assert not takes("prepared_queries", PreparedQuery(SUBJECT, {**NO_SUCH_KEY, "planes_year": "x"}, dict(VERSIONS)))
    assert not takes("prepared_queries", PreparedQuery(SUBJECT, {}, dict(VERSIONS)))
    unresolved = {**SUBJECT, "prediction_time": None}
    assert not takes("prepared_queries", PreparedQuery(unresolved, dict(NO_SUCH_KEY), dict(VERSIONS)))


def test_heartbeats() -> None:
    assert takes("heartbeat", {"complete_through": MINUTE})
    assert not takes("heartbeat", {"complete_through": "soon"})
    assert not takes("heartbeat", {"id": "a fact"})
