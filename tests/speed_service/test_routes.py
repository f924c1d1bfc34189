"""What clients see: answers, their order, and every way to be told no."""

import json
import math
from typing import Any

import pytest

from speed_service.app import create_app, service_of
from tests.speed_service.conftest import TOKEN, World, make_config, subject

PROBLEM = "application/problem+json"


def fields(response: Any) -> dict[str, str]:
    return {error["field"]: error["reason"] for error in response.json["errors"]}


def test_answers_in_the_order_of_the_subjects(world: World) -> None:
    subjects = [subject(id=f"s{n}", origin=origin) for n, origin in enumerate(["EWR", "JFK", "LGA", "EWR"])]
    response = world.predict(*subjects)
    assert response.status_code == 200, response.text
    champion = service_of(world.app).champion
    assert champion is not None and response.json["model_id"] == champion.model_id
    assert [p["id"] for p in response.json["predictions"]] == ["s0", "s1", "s2", "s3"]
    probabilities = [p["probability"] for p in response.json["predictions"]]
    assert all(0.0 < p < 1.0 for p in probabilities)
    assert probabilities[0] == pytest.approx(probabilities[3], abs=1e-6)
    assert probabilities[0] != pytest.approx(probabilities[1], abs=1e-6)


def test_a_batch_answers_as_its_rows_do_alone(world: World) -> None:
    subjects = [subject(id=f"s{n}", flight=n + 1, distance=100 + n) for n in range(20)]
    together = [p["probability"] for p in world.predict(*subjects).json["predictions"]]
    alone = [world.predict(s).json["predictions"][0]["probability"] for s in subjects]
    assert together == pytest.approx(alone, abs=1e-6)


def test_says_what_it_could_see(world: World) -> None:
    prediction = world.predict(subject()).json["predictions"][0]
    assert set(prediction["as_of"]) == {"schedule", "departures", "arrivals", "cancellations", "weather"}
    assert set(prediction["as_of"].values()) == {"2013-01-20T14:15:00Z"}
    assert prediction["degraded"] is False


def test_is_degraded_long_after_the_last_published_day(world: World) -> None:
    prediction = world.predict(subject(scheduled_departure="2013-01-21T15:15:00Z")).json["predictions"][0]
    assert prediction["as_of"]["departures"] == "2013-01-21T00:00:00Z"
    assert prediction["degraded"] is True


def test_uses_facts_as_known_at_the_given_prediction_time(world: World) -> None:
    early, late = subject(prediction_time="2013-01-20T00:05:30Z"), subject()
    answers = world.predict(early, late).json["predictions"]
    assert answers[0]["as_of"]["weather"] == "2013-01-20T00:05:00Z"
    assert answers[0]["probability"] != answers[1]["probability"]


@pytest.mark.parametrize(
    "changes",
    [{"tailnum": None}, {"tailnum": "N404"}, {"dest": "ZZZ"}, {"carrier": "??"}, {"prediction_time": None}],
    ids=str,
)
def test_answers_for_missing_and_unseen_values(world: World, changes: dict[str, Any]) -> None:
    response = world.predict(subject(**changes))
    assert response.status_code == 200, response.text
    assert math.isfinite(response.json["predictions"][0]["probability"])


def test_a_nullable_field_may_be_absent(world: World) -> None:
    without = subject()
    del without["tailnum"]
    assert world.predict(without).json == world.predict(subject(tailnum=None)).json


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"distance": -3}, "distance", "below"),
        ({"distance": "far"}, "distance", "not an integer"),
        ({"distance": 1.5}, "distance", "not an integer"),
        ({"distance": True}, "distance", "not an integer"),
        ({"origin": "BOS"}, "origin", "not one of"),
        ({"carrier": None}, "carrier", "required"),
        ({"carrier": ["UA"]}, "carrier", "single value"),
        ({"dest": "LONGER"}, "dest", "longer"),
        ({"scheduled_departure": "2013-02-30T10:00:00Z"}, "scheduled_departure", "time"),
        ({"scheduled_departure": "2013-01-29 10:15"}, "scheduled_departure", "time"),
        ({"tail_num": "N1"}, "tail_num", "unknown field"),
        ({"prediction_time": "2013-01-20T14:30:01Z"}, "prediction_time", "45 minutes"),
        ({"prediction_time": "soon"}, "prediction_time", "time"),
    ],
    ids=str,
)
def test_names_the_field_and_the_reason(world: World, changes: dict[str, Any], field: str, reason: str) -> None:
    response = world.predict(subject(), subject(**changes))
    assert response.status_code == 422, response.text
    assert response.content_type == PROBLEM
    assert reason in fields(response)[f"subjects[1].{field}"]
    assert response.json["detail"].startswith(f"subjects[1].{field}: ")


def test_the_minimum_lead_itself_is_accepted(world: World) -> None:
    assert world.predict(subject(prediction_time="2013-01-20T14:30:00Z")).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ({}, "subjects"),
        ({"subjects": {}}, "subjects"),
        ({"subjects": []}, "subjects"),
        ({"subjects": [1]}, "subjects[0]"),
        ({"subjects": [{}], "subject": 1}, "subject"),
        ({"subjects": [{}], "\ud800": 1}, "?"),
        ({"subjects": [{"\ud800": 1}]}, "subjects[0].?"),
    ],
    ids=str,
)
def test_rejects_another_shape(world: World, body: Any, field: str) -> None:
    response = world.predict(json=body)
    assert response.status_code == 422
    assert field in fields(response)


def test_lists_every_fault_up_to_a_limit(world: World) -> None:
    response = world.predict(*(subject(distance=-n) for n in range(100)))
    assert len(response.json["errors"]) == 50
    assert "(and 99 more)" in response.json["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"subjects": NaN}', b"\xff\xfe"], ids=repr)
def test_rejects_what_is_not_json(world: World, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    response = world.client.post("/v1/flight_delay/predict", data=body, headers=headers)
    assert (response.status_code, response.content_type) == (400, PROBLEM)


def test_limits_subjects_and_bytes(world: World) -> None:
    assert world.predict(*[subject()] * 1000).status_code == 200
    too_many = world.predict(*[subject()] * 1001)
    assert too_many.status_code == 422 and "1001" in too_many.json["detail"]
    too_large = world.predict(subject(id="x" * (1 << 20)))
    assert too_large.status_code == 413 and too_large.content_type == PROBLEM


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"], ids=repr
)
def test_wants_the_token(world: World, header: str) -> None:
    response = world.predict(subject(), headers={"Authorization": header})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in response.text


def test_wants_json(world: World) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}
    response = world.client.post("/v1/flight_delay/predict", data=b"{}", headers=headers)
    assert response.status_code == 415 and response.content_type == PROBLEM


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/flight_delay/predict", 405),
        ("POST", "/healthz", 405),
        ("GET", "/nothing", 404),
        ("GET", "/v1/other/model", 404),
        ("POST", "/v1/other/predict", 404),
    ],
)
def test_other_paths_and_methods_are_problems_too(world: World, method: str, path: str, status: int) -> None:
    response = world.client.open(path, method=method)
    assert (response.status_code, response.content_type) == (status, PROBLEM)
    assert response.json["status"] == status
    assert status != 405 or response.headers["Allow"]


def test_an_unforeseen_error_is_a_bare_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("speed_service.routes.answer", fail)
    response = world.predict(subject())
    assert (response.status_code, response.content_type) == (500, PROBLEM)
    assert "secret detail" not in response.text


def test_is_alive_but_not_ready_without_a_champion(empty_world: World) -> None:
    assert empty_world.client.get("/healthz").status_code == 200
    for response in (empty_world.client.get("/readyz"), empty_world.predict(subject())):
        assert (response.status_code, response.content_type) == (503, PROBLEM)
        assert "ledger" in response.json["detail"]
    assert empty_world.client.get("/v1/flight_delay/model").status_code == 503
    assert empty_world.client.get("/").status_code == 200


def test_a_ready_service_describes_itself(world: World) -> None:
    assert world.client.get("/readyz").status_code == 200
    model = world.client.get("/v1/flight_delay/model").json
    assert model["metrics"] == {"test": {"auc": 0.7}}
    assert model["tiles"]["end"] == "2013-01-21T00:00:00Z"
    page = world.client.get("/")
    assert page.content_type.startswith("text/html") and model["model_id"] in page.text


def test_counts_what_it_does(world: World) -> None:
    world.predict(subject(), subject())
    world.predict(subject(distance=-1))
    world.predict(subject(), headers={})
    text = world.client.get("/metrics").text
    assert 'predictions_total{degraded="false"} 2.0' in text
    assert 'rejected_total{reason="invalid-request"} 1.0' in text
    assert 'rejected_total{reason="unauthorized"} 1.0' in text
    assert "predict_seconds_count 3.0" in text


def test_two_apps_do_not_share_meters(world: World) -> None:
    world.predict(subject())
    other = create_app(make_config())
    assert 'predictions_total{degraded="false"} 1.0' not in other.test_client().get("/metrics").text


def test_the_example_of_the_description_is_accepted(world: World) -> None:
    document = world.client.get("/openapi.json").json
    example = document["components"]["schemas"]["Subject"]["examples"][0]
    response = world.predict(example)
    assert response.status_code == 200, json.dumps(response.json)
