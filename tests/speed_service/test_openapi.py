"""The published descriptions are those of the code, and the answers are as described."""

from typing import Any

import jsonschema
import pytest

from tests.speed_service.conftest import World, subject


def resolved(document: Any, name: str) -> dict[str, Any]:
    """A component of the document as a schema that stands alone."""
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


def test_every_route_is_described(world: World) -> None:
    document = world.client.get("/openapi.json").json
    routes = {str(rule).replace("<use_case>", world.use_case.name) for rule in world.app.url_map.iter_rules()}
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == routes


def test_answers_are_as_described(world: World) -> None:
    document = world.client.get("/openapi.json").json
    answer = world.predict(subject(), subject(prediction_time="2012-06-01T00:00:00Z")).json
    jsonschema.Draft202012Validator(resolved(document, "Answer")).validate(answer)
    assert answer["predictions"][1]["as_of"]["weather"] is None


@pytest.mark.parametrize(
    ("changes", "valid"),
    [({}, True), ({"tailnum": None}, True), ({"distance": -1}, False), ({"tail": 1}, False), ({"origin": "X"}, False)],
    ids=str,
)
def test_the_description_of_a_subject_agrees_with_the_service(
    world: World, changes: dict[str, Any], valid: bool
) -> None:
    schema = resolved(world.client.get("/openapi.json").json, "Subject")
    assert jsonschema.Draft202012Validator(schema).is_valid(subject(**changes)) is valid
    assert (world.predict(subject(**changes)).status_code == 200) is valid


def test_problems_are_as_described(world: World) -> None:
    schema = resolved(world.client.get("/openapi.json").json, "Problem")
    for response in (world.predict(subject(distance=-1)), world.predict(headers={}), world.client.get("/no")):
        jsonschema.Draft202012Validator(schema).validate(response.json)
